{{- define "holdfast.controllerName" -}}
{{- include "holdfast.fullname" . | trunc 52 | trimSuffix "-" -}}-controller
{{- end }}

{{- define "holdfast.controllerSelector" -}}
app.kubernetes.io/name: {{ include "holdfast.name" . | trunc 52 | trimSuffix "-" }}-controller
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "holdfast.controllerLabels" -}}
{{ include "holdfast.controllerSelector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/*
The managed part of the DaemonSet as it is rendered here, in JSON, for the controller: see docs/drift.md. The user's part is
left out, so that a change of his settings alone is no other render.
*/}}
{{- define "holdfast.managed" -}}
{{- $own := splitList "\n" (include "holdfast.ownSettings" . | trim) -}}
{{- $template := (fromYaml (include "holdfast.daemonSetSpec" .)).template -}}
{{- $container := first $template.spec.containers -}}
{{- $env := list -}}
{{- range $container.env -}}
{{- if has .name $own -}}
{{- $env = append $env . -}}
{{- end -}}
{{- end -}}
{{- $names := list "k8s-app" "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/version" -}}
{{- $labels := fromYaml (include "holdfast.labels" .) -}}
{{- $container = pick $container "name" "image" "imagePullPolicy" "command" "args" "workingDir" "ports" "livenessProbe" "readinessProbe" "securityContext" "volumeMounts" -}}
{{- $pod := pick $template.spec "serviceAccountName" "automountServiceAccountToken" "priorityClassName" "hostNetwork" "hostPID" "hostIPC" "dnsPolicy" "enableServiceLinks" "terminationGracePeriodSeconds" "volumes" -}}
{{- dict
  "apiVersion" "apps/v1"
  "kind" "DaemonSet"
  "metadata" (dict "name" (include "holdfast.fullname" .) "namespace" .Release.Namespace "labels" (include "holdfast.pickAll" (list $labels $names) | fromJson))
  "spec" (dict "template" (dict
    "metadata" (dict "labels" (include "holdfast.pickAll" (list $template.metadata.labels $names) | fromJson))
    "spec" (merge (dict "containers" (list (merge (dict "env" $env) $container))) $pod))) | toJson -}}
{{- end }}

{{/* Of a map, what has these names. */}}
{{- define "holdfast.pickAll" -}}
{{- $all := first . -}}
{{- $some := dict -}}
{{- range last . -}}
{{- if hasKey $all . -}}
{{- $_ := set $some . (index $all .) -}}
{{- end -}}
{{- end -}}
{{- toJson $some -}}
{{- end }}
