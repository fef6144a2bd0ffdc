{{- define "holdfast.admission.variables" -}}
variables:
  # Empty for a token that is bound to no node, which then may change nothing.
  - name: node
    expression: >-
      request.userInfo.?extra[?'authentication.kubernetes.io/node-name'].orValue(['']).join('')
  - name: updates
    expression: request.operation == 'UPDATE'
{{- end }}

{{/*
Of a node: one condition of its own status, and nothing else.
A version is named here and below since the API server checks expressions against fields for named ones only; what comes
by another is judged as if it came by this one.
*/}}
{{- define "holdfast.admission.nodes" -}}
matchConstraints:
  resourceRules:
    - apiGroups: [""]
      apiVersions: [v1]
      resources: [nodes, nodes/*]
      operations: [CREATE, UPDATE, DELETE]
{{ include "holdfast.admission.variables" . }}
  - name: before
    expression: "variables.updates ? dyn(oldObject.?status.orValue({})) : dyn({})"
  - name: after
    expression: "variables.updates ? dyn(object.?status.orValue({})) : dyn({})"
validations:
  - expression: variables.node != '' && request.name == variables.node
    messageExpression: "'the network daemon of node ' + variables.node + ' may not change node ' + request.name"
  - expression: variables.updates && request.subResource == 'status'
    message: the network daemon may change a node's status only
  # With the status metadata may be changed too.
  - expression: >-
      !variables.updates ||
      (object.metadata.?labels == oldObject.metadata.?labels &&
      object.metadata.?annotations == oldObject.metadata.?annotations &&
      object.metadata.?finalizers == oldObject.metadata.?finalizers &&
      object.metadata.?ownerReferences == oldObject.metadata.?ownerReferences)
    message: the network daemon may not change a node's metadata
  - expression: >-
      !variables.updates ||
      (object.status.?conditions.orValue([]).filter(c, c.type != '{{ include "holdfast.condition" . }}') ==
      oldObject.status.?conditions.orValue([]).filter(c, c.type != '{{ include "holdfast.condition" . }}'))
    message: the network daemon may not change a condition other than {{ include "holdfast.condition" . }}
  # Whatever fields there are, those of later versions too. `dyn`, since a status is no map to the API server's check of expressions.
  - expression: >-
      !variables.updates ||
      (variables.after.all(k, k == 'conditions' || (k in variables.before && variables.before[k] == variables.after[k])) &&
      variables.before.all(k, k == 'conditions' || k in variables.after))
    message: the network daemon may change nothing of a node's status but its condition
{{- end }}

{{/* Of a pod of its own node: one annotation. */}}
{{- define "holdfast.admission.pods" -}}
matchConstraints:
  resourceRules:
    - apiGroups: [""]
      apiVersions: [v1]
      resources: [pods, pods/*]
      operations: [CREATE, UPDATE, DELETE]
{{ include "holdfast.admission.variables" . }}
  - name: before
    expression: "variables.updates ? oldObject.metadata.?annotations.orValue({}) : {}"
  - name: after
    expression: "variables.updates ? object.metadata.?annotations.orValue({}) : {}"
validations:
  - expression: variables.updates && request.?subResource.orValue('') == ''
    message: the network daemon may annotate pods only
  - expression: >-
      !variables.updates || (variables.node != '' && oldObject.spec.?nodeName.orValue('') == variables.node)
    messageExpression: "'the network daemon of node ' + variables.node + ' may not change a pod of node ' + oldObject.spec.?nodeName.orValue('')"
  - expression: >-
      !variables.updates ||
      (variables.after.all(k, k == 'vpc.amazonaws.com/pod-ips' ||
      (k in variables.before && variables.before[k] == variables.after[k])) &&
      variables.before.all(k, k == 'vpc.amazonaws.com/pod-ips' || k in variables.after))
    message: the network daemon may not change an annotation other than vpc.amazonaws.com/pod-ips
  - expression: >-
      !variables.updates ||
      (object.spec == oldObject.spec &&
      object.metadata.?labels == oldObject.metadata.?labels &&
      object.metadata.?finalizers == oldObject.metadata.?finalizers &&
      object.metadata.?ownerReferences == oldObject.metadata.?ownerReferences)
    message: the network daemon may change nothing of a pod but its annotation
{{- end }}

{{/*
An event says from which node's daemon it comes, and that is true. On which node the pod runs that it is about
cannot be known here.
*/}}
{{- define "holdfast.admission.events" -}}
matchConstraints:
  resourceRules:
    - apiGroups: [events.k8s.io]
      apiVersions: [v1]
      resources: [events]
      operations: [CREATE, UPDATE, DELETE]
{{ include "holdfast.admission.variables" . }}
validations:
  - expression: request.operation != 'DELETE'
    message: the network daemon may not delete events
  - expression: >-
      request.operation == 'DELETE' ||
      (variables.node != '' && object.?reportingInstance.orValue('') == variables.node &&
      (!variables.updates || oldObject.?reportingInstance.orValue('') == variables.node))
    messageExpression: "'events of the network daemon of node ' + variables.node + ' have its name as reportingInstance'"
  - expression: >-
      request.operation == 'DELETE' || object.?regarding.?kind.orValue('') != 'Node' ||
      object.regarding.?name.orValue('') == variables.node
    messageExpression: "'the network daemon of node ' + variables.node + ' may not tell events of another node'"
{{- end }}

{{/* The CNINode that has its own node's name. */}}
{{- define "holdfast.admission.cninodes" -}}
matchConstraints:
  resourceRules:
    - apiGroups: [vpcresources.k8s.aws]
      apiVersions: [v1alpha1]
      resources: [cninodes, cninodes/*]
      operations: [CREATE, UPDATE, DELETE]
{{ include "holdfast.admission.variables" . }}
validations:
  - expression: variables.node != '' && request.name == variables.node
    messageExpression: "'the network daemon of node ' + variables.node + ' may not change CNINode ' + request.name"
  - expression: variables.updates && request.?subResource.orValue('') == ''
    message: the network daemon may change what its CNINode asks for only
  - expression: >-
      !variables.updates ||
      (object.?spec.?tags == oldObject.?spec.?tags &&
      object.metadata.?labels == oldObject.metadata.?labels &&
      object.metadata.?annotations == oldObject.metadata.?annotations &&
      object.metadata.?finalizers == oldObject.metadata.?finalizers &&
      object.metadata.?ownerReferences == oldObject.metadata.?ownerReferences)
    message: the network daemon may change nothing of its CNINode but the features
{{- end }}
