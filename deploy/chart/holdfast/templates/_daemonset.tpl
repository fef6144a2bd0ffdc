{{/* What the DaemonSet is to be. Apart from the object, since the controller is told of it as well. */}}
{{- define "holdfast.daemonSetSpec" -}}
{{- with .Values.updateStrategy }}
updateStrategy:
  {{- toYaml . | nindent 2 }}
{{- end }}
selector:
  matchLabels:
    {{- include "holdfast.selector" . | nindent 4 }}
template:
  metadata:
    labels:
      {{- $own := dict "k8s-app" "aws-node" "app.kubernetes.io/name" (include "holdfast.name" .) "app.kubernetes.io/instance" .Release.Name }}
      {{- toYaml (mergeOverwrite (dict) (.Values.podLabels | default dict) $own) | nindent 6 }}
    {{- $annotations := .Values.podAnnotations | default dict }}
    {{- if .Values.cniConfig.enabled }}
    {{- /* A daemon writes the configuration when it starts, since others add to it while it runs: another one is another template. */}}
    {{- $annotations = merge (dict "holdfast/network-configuration" (sha256sum (trim .Values.cniConfig.fileContents))) $annotations }}
    {{- end }}
    {{- with $annotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    serviceAccountName: {{ include "holdfast.serviceAccountName" . }}
    priorityClassName: {{ .Values.priorityClassName }}
    hostNetwork: true
    # The node's own resolver: the cluster's is behind the network that is made here.
    dnsPolicy: Default
    enableServiceLinks: false
    # The daemon ends at once; what it had promised is on the disk.
    terminationGracePeriodSeconds: 10
    {{- with .Values.imagePullSecrets }}
    imagePullSecrets:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.podSecurityContext }}
    securityContext:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    containers:
      - name: aws-node
        image: {{ include "holdfast.image" . }}
        imagePullPolicy: {{ .Values.image.pullPolicy | default "IfNotPresent" }}
        args: [run]
        env:
          {{- include "holdfast.env" . | nindent 10 }}
        ports:
          - name: metrics
            containerPort: 61678
            protocol: TCP
        {{- with .Values.livenessProbe }}
        livenessProbe:
          {{- toYaml (omit (include "holdfast.oneHandler" . | fromYaml) "timeoutSeconds") | nindent 10 }}
          timeoutSeconds: {{ .timeoutSeconds | default $.Values.livenessProbeTimeoutSeconds }}
        {{- end }}
        {{- with .Values.readinessProbe }}
        readinessProbe:
          {{- toYaml (omit (include "holdfast.oneHandler" . | fromYaml) "timeoutSeconds") | nindent 10 }}
          timeoutSeconds: {{ .timeoutSeconds | default $.Values.readinessProbeTimeoutSeconds }}
        {{- end }}
        {{- with .Values.resources }}
        resources:
          {{- toYaml . | nindent 10 }}
        {{- end }}
        securityContext:
          {{- include "holdfast.securityContext" . | nindent 10 }}
        volumeMounts:
          # Where the runtime looks for plugins: the daemon puts its own there.
          - name: cni-bin
            mountPath: /host/opt/cni/bin
          # Where the runtime looks for network configurations: ours appears once the daemon can serve.
          - name: cni-conf
            mountPath: /host/etc/cni/net.d
          # Ledger and spool. They must outlive the pod and the boot.
          - name: state
            mountPath: /var/lib/holdfast
          # The plugin's socket, under the same path as on the host.
          - name: run
            mountPath: /run/holdfast
          # Pods' namespaces. Those that come later are seen by propagation only.
          - name: netns
            mountPath: /run/netns
            mountPropagation: HostToContainer
          # A container's own /proc/sys is read-only. Of the host's only the network's part is given, and that is the
          # part of the network namespace of whoever looks, wherever it is mounted.
          - name: proc-sys-net
            mountPath: /host/proc/sys/net
          {{- if .Values.cniConfig.enabled }}
          - name: conflist
            mountPath: /etc/holdfast/cni
            readOnly: true
          {{- end }}
          {{- with .Values.extraVolumeMounts }}
          {{- toYaml . | nindent 10 }}
          {{- end }}
    volumes:
      - name: cni-bin
        hostPath:
          path: /opt/cni/bin
          type: DirectoryOrCreate
      - name: cni-conf
        hostPath:
          path: /etc/cni/net.d
          type: DirectoryOrCreate
      - name: state
        hostPath:
          path: /var/lib/holdfast
          type: DirectoryOrCreate
      - name: run
        hostPath:
          path: /run/holdfast
          type: DirectoryOrCreate
      - name: netns
        hostPath:
          path: /run/netns
          # The runtime makes it with the first pod, which on a new node is yet to come.
          type: DirectoryOrCreate
      - name: proc-sys-net
        hostPath:
          path: /proc/sys/net
          type: Directory
      {{- if .Values.cniConfig.enabled }}
      - name: conflist
        configMap:
          name: {{ include "holdfast.fullname" . }}-conflist
      {{- end }}
      {{- with .Values.extraVolumes }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- with .Values.nodeSelector }}
    nodeSelector:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.affinity }}
    affinity:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.tolerations }}
    tolerations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end }}
