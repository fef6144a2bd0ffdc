{{/* What is said after an install; apart from NOTES.txt so that tests can render it without a cluster. */}}
{{- define "holdfast.notes" -}}
{{- $ignored := include "holdfast.ignored" . -}}
{{- $refused := include "holdfast.refusedSettings" . -}}
Holdfast {{ .Chart.AppVersion }} is installed as DaemonSet {{ .Release.Namespace }}/{{ include "holdfast.fullname" . }}, with the image
{{ include "holdfast.image" . }}

It serves nodes that start from now on. It does not take over pods that the Amazon VPC CNI runs on a node: drain
such a node and replace it.
{{- if $refused }}

THE DAEMON WILL NOT START with these settings, and its log says why for each:
{{ $refused }}
{{- end }}
{{- if $ignored }}

These keys were given and do nothing:
{{ $ignored }}
{{- end }}
{{- if .Values.holdfast.networkPolicyByOthers }}

holdfast.networkPolicyByOthers is set: see to it that another program enforces network policies. This one does not.
{{- end }}
{{- if not .Values.holdfast.admissionPolicy.create }}

holdfast.admissionPolicy.create is false: a token that is taken from one node's daemon can change the status of all nodes.
{{- end }}

What to look at:
  kubectl -n {{ .Release.Namespace }} rollout status daemonset/{{ include "holdfast.fullname" . }}
  kubectl get nodes                      # Ready once the daemon has put its network configuration in place
  kubectl -n {{ .Release.Namespace }} exec ds/{{ include "holdfast.fullname" . }} -- /holdfast health
                                         # serving: ready, or the cause in words
  kubectl -n {{ .Release.Namespace }} exec ds/{{ include "holdfast.fullname" . }} -- /holdfast settings
                                         # what the daemon runs with, and where each value comes from
{{- end }}
