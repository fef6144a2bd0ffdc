{{/* What the chart does not render, and why. */}}
{{- define "holdfast.refusals" -}}
{{- include "holdfast.checkSettings" . -}}
{{- if and (include "holdfast.on" .Values.enableNetworkPolicy) (not .Values.holdfast.networkPolicyByOthers) -}}
{{- fail "enableNetworkPolicy: this version enforces no network policy, so pods that a policy isolates would be reachable. Set it to \"false\"; or, where another program enforces them, set holdfast.networkPolicyByOthers=true." -}}
{{- end -}}
{{- if not (or .Values.serviceAccount.create .Values.serviceAccount.name) -}}
{{- fail "serviceAccount.create is false: serviceAccount.name must say which account; the namespace's default one would give every pod there these rights" -}}
{{- end -}}
{{- if and .Values.cniConfig.enabled (not .Values.cniConfig.fileContents) -}}
{{- fail "cniConfig.enabled: cniConfig.fileContents must have the network configuration" -}}
{{- end -}}
{{- if and .Values.eniConfig.create (not .Values.eniConfig.subnets) -}}
{{- fail "eniConfig.create: eniConfig.subnets must name at least one subnet, as in us-west-2a: {id: subnet-…}" -}}
{{- end -}}
{{- end }}

{{/* The container's environment. A name is there once only (of two, server-side apply takes neither): `extraEnv` counts. */}}
{{- define "holdfast.env" -}}
{{- $extra := list -}}
{{- range .Values.extraEnv -}}
{{- $extra = append $extra .name -}}
{{- end -}}
{{- /* With the version that the API server fills in: it takes a reference as one value, and without it two who apply the same would disagree. */ -}}
- name: MY_NODE_NAME
  valueFrom:
    fieldRef:
      apiVersion: v1
      fieldPath: spec.nodeName
- name: MY_POD_NAME
  valueFrom:
    fieldRef:
      apiVersion: v1
      fieldPath: metadata.name
- name: HOLDFAST_DAEMON_SET
  value: {{ include "holdfast.fullname" . }}
- name: HOLDFAST_PROC_SYS
  value: /host/proc/sys
- name: HOLDFAST_PLUGIN
  value: /app/aws-cni
- name: HOST_CNI_BIN_PATH
  value: /host/opt/cni/bin
- name: HOST_CNI_CONFDIR_PATH
  value: /host/etc/cni/net.d
{{- if .Values.cniConfig.enabled }}
- name: HOLDFAST_CONFLIST
  value: /etc/holdfast/cni/10-aws.conflist
{{- end }}
{{- range $name, $value := .Values.env }}
{{- /* As upstream: without its agent nothing enforces policies, and nobody is to wait for it. */}}
{{- $policyOff := and (eq $name "NETWORK_POLICY_ENFORCING_MODE") (eq (toString (dig "enabled" true ($.Values.nodeAgent | default dict))) "false") }}
{{- if not (or (kindIs "invalid" $value) (has $name $extra) $policyOff) }}
- name: {{ $name }}
  value: {{ include "holdfast.text" $value | quote }}
{{- end }}
{{- end }}
{{- range .Values.extraEnv }}
- {{ toYaml . | nindent 2 | trim }}
{{- end }}
{{- end }}

{{/*
The least that the daemon needs. The user's is laid over it, but for the capabilities: upstream's values ask for those of
another program.
*/}}
{{- define "holdfast.securityContext" -}}
{{- $add := list "NET_ADMIN" -}}
{{- if .Values.holdfast.enterPodNamespaces -}}
{{- $add = append $add "SYS_ADMIN" -}}
{{- end -}}
{{- $least := dict
  "runAsUser" 0
  "runAsGroup" 0
  "readOnlyRootFilesystem" true
  "allowPrivilegeEscalation" false
  "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- $asked := omit (.Values.securityContext | default dict) "capabilities" -}}
{{- if $asked.privileged -}}
{{- $least = unset $least "allowPrivilegeEscalation" -}}
{{- end -}}
{{- $caps := dict "capabilities" (dict "drop" (list "ALL") "add" $add) -}}
{{- toYaml (mergeOverwrite (dict) $least $asked $caps) -}}
{{- end }}

{{/* A probe asks in one way. Helm lays a user's over the default one, whose way is not asked for then. */}}
{{- define "holdfast.oneHandler" -}}
{{- if or .httpGet .tcpSocket .grpc -}}
{{- toYaml (omit . "exec") -}}
{{- else -}}
{{- toYaml . -}}
{{- end -}}
{{- end }}
