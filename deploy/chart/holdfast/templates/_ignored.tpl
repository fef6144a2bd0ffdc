{{/*
Keys of upstream's values that do nothing here, each with the reason. None of them has a default in this chart, so one
that is there was given.
*/}}
{{- define "holdfast.ignored" -}}
{{- $image := "it names the image of another program; ours is holdfast.image" -}}
{{- $agent := "this version enforces no network policy, so there is no agent" -}}
{{- $reasons := dict
  "image.tag" $image
  "image.domain" $image
  "image.region" $image
  "image.endpoint" $image
  "image.account" $image
  "image.overrideRepository" $image
  "image.override" $image
  "init.image" "there is no init container: the daemon prepares the node when it starts"
  "init.securityContext" "there is no init container, and nothing is privileged"
  "init.resources" "there is no init container"
  "init.env.DISABLE_TCP_EARLY_DEMUX" "it is for security groups for pods, which this version has not"
  "init.env.ENABLE_IPv6" "env.ENABLE_IPv6 alone counts"
  "init.env.ENABLE_V6_EGRESS" "this version gives IPv4 pods no way to IPv6 destinations"
  "init.env.HOST_CNI_BIN_PATH" "the chart mounts the folders"
  "nodeAgent.image" $agent
  "nodeAgent.securityContext" $agent
  "nodeAgent.resources" $agent
  "nodeAgent.enableCloudWatchLogs" $agent
  "nodeAgent.enablePolicyEventLogs" $agent
  "nodeAgent.networkPolicyAgentLogFileLocation" $agent
  "nodeAgent.enableIpv6" $agent
  "nodeAgent.metricsBindAddr" $agent
  "nodeAgent.healthProbeBindAddr" $agent
  "nodeAgent.conntrackCacheCleanupPeriod" $agent
  "nodeAgent.conntrackCacheTableSize" $agent
  "nodeAgent.logLevel" $agent
  "securityContext.capabilities" "the chart adds what is needed: NET_ADMIN, and SYS_ADMIN with holdfast.enterPodNamespaces"
  "eniConfig.region" "upstream's chart does not use it either"
  "crd" "Helm makes the definitions that are missing, see crds/"
  "cri" "the runtime is not asked"
  "env.VPC_CNI_VERSION" "it names another program's version"
  "env.AWS_VPC_K8S_CNI_LOG_FILE" "the daemon logs to its container's output"
  "env.AWS_EXTERNAL_SERVICE_CIDRS" "this version makes no rules for them"
  "env.AWS_VPC_K8S_CNI_CONFIGURE_RPFILTER" "upstream does not look at it any more"
  "env.ENABLE_NFTABLES" "upstream does not look at it any more"
  "env.ENABLE_V4_EGRESS" "this version gives IPv6 pods no way to IPv4 destinations"
  "env.ENABLE_V6_EGRESS" "this version gives IPv4 pods no way to IPv6 destinations"
  "env.AWS_EC2_ENDPOINT" "the AWS SDK's own AWS_ENDPOINT_URL_EC2 works"
  "env.HTTP_TIMEOUT" "the deadlines are the daemon's own"
  "env.AWS_VPC_K8S_CNI_BACKING_STORE" "the ledger is in /var/lib/holdfast" -}}
{{- $values := mustFromJson (toJson .Values) -}}
{{- range $path := keys $reasons | sortAlpha -}}
{{- $at := $values -}}
{{- range splitList "." $path -}}
{{- $at = ternary (index ($at | default dict) .) nil (kindIs "map" $at) -}}
{{- end -}}
{{- if not (kindIs "invalid" $at) }}
  {{ $path }}: {{ index $reasons $path }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Settings with which the daemon does not start. They are rendered all the same: silence would be worse. */}}
{{- define "holdfast.refusedSettings" -}}
{{- range $name := list "ENABLE_POD_ENI" -}}
{{- if include "holdfast.on" (index ($.Values.env | default dict) $name) }}
  {{ $name }}
{{- end -}}
{{- end -}}
{{- $v4 := toString (index (.Values.env | default dict) "ENABLE_IPv4") -}}
{{- $v6 := include "holdfast.on" (index (.Values.env | default dict) "ENABLE_IPv6") -}}
{{- if and (not $v6) (has $v4 (list "0" "f" "F" "FALSE" "false" "False")) }}
  ENABLE_IPv4
{{- end -}}
{{- if and $v6 (or (has $v4 (list "1" "t" "T" "TRUE" "true" "True")) (not (include "holdfast.on" (index (.Values.env | default dict) "ENABLE_PREFIX_DELEGATION")))) }}
  ENABLE_IPv6
{{- end -}}
{{- if eq (lower (toString (index (.Values.env | default dict) "NETWORK_POLICY_ENFORCING_MODE"))) "strict" }}
  NETWORK_POLICY_ENFORCING_MODE
{{- end -}}
{{- end }}
