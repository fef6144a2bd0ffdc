{{/* Names, as upstream's chart makes them, so that a release of either can become the other. */}}
{{- define "holdfast.name" -}}
{{- .Values.nameOverride | default "aws-node" | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "holdfast.fullname" -}}
{{- .Values.fullnameOverride | default (include "holdfast.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- define "holdfast.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "holdfast.fullname" .) -}}
{{- end }}

{{/* The DaemonSet's selector, which cannot be changed once it is there. */}}
{{- define "holdfast.selector" -}}
{{- if .Values.originalMatchLabels -}}
k8s-app: aws-node
{{- else -}}
app.kubernetes.io/name: {{ include "holdfast.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- end }}

{{- define "holdfast.labels" -}}
k8s-app: aws-node
app.kubernetes.io/name: {{ include "holdfast.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "holdfast.image" -}}
{{- with .Values.holdfast.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end }}
{{- end }}
{{- end }}

{{/* A value as text: whole numbers without an exponent, whatever Helm read them as. */}}
{{- define "holdfast.text" -}}
{{- if kindIs "float64" . -}}
{{- if eq . (floor .) -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- else -}}
{{ . }}
{{- end -}}
{{- end }}

{{/* "true" for what the daemon takes for true, else nothing. */}}
{{- define "holdfast.on" -}}
{{- if has (toString .) (list "1" "t" "T" "TRUE" "true" "True") -}}true{{- end -}}
{{- end }}

{{/*
Whether a setting is on, or may be, on any node: `setting` of `root`. It may be said in each way in which the daemon hears it. What
comes from a ConfigMap or a Secret of others is not known here, so that it may be on. `key` is what the setting is called in the
ConfigMap amazon-vpc-cni beside its own name.
*/}}
{{- define "holdfast.feature" -}}
{{- $config := .root.Values.holdfast.config | default dict -}}
{{- $said := list (index (.root.Values.env | default dict) .setting) (index $config .setting) -}}
{{- if .key -}}
{{- $said = append $said (index $config .key) -}}
{{- end -}}
{{- range .root.Values.holdfast.nodeGroups -}}
{{- $said = append $said (index (.settings | default dict) $.setting) -}}
{{- end -}}
{{- $on := "" -}}
{{- range $said -}}
{{- $on = $on | default (include "holdfast.on" .) -}}
{{- end -}}
{{- range .root.Values.extraEnv -}}
{{- if eq .name $.setting -}}
{{- $on = $on | default (ternary "true" (include "holdfast.on" .value) (hasKey . "valueFrom")) -}}
{{- end -}}
{{- end -}}
{{- $on -}}
{{- end }}

{{- define "holdfast.annotates" -}}
{{- include "holdfast.feature" (dict "root" . "setting" "ANNOTATE_POD_IP" "key" "annotate-pod-ip") -}}
{{- end }}
{{- define "holdfast.customNetworking" -}}
{{- include "holdfast.feature" (dict "root" . "setting" "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG" "key" "enable-custom-networking") -}}
{{- end }}
{{- define "holdfast.podENI" -}}
{{- include "holdfast.feature" (dict "root" . "setting" "ENABLE_POD_ENI") -}}
{{- end }}

{{/* The node condition that says whether pods can be given addresses. */}}
{{- define "holdfast.condition" -}}
HoldfastAddressesAvailable
{{- end }}
