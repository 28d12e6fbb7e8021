{{/*
What other charts include to get the sidecar that `podtap inject` adds. In a chart that depends on this one:

  template:
    metadata:
      annotations:
        {{- include "podtap.annotations" . | nindent 8 }}
    spec:
      terminationGracePeriodSeconds: {{ include "podtap.terminationGracePeriodSeconds" . }}
      initContainers:
        {{- include "podtap.sidecar" . | nindent 8 }}
      volumes:
        {{- include "podtap.volumes" . | nindent 8 }}

With sidecar.classic put it under containers instead. A dependency with an alias is given itself: `.Subcharts.alias`.
*/}}

{{/* The sidecar, as an item of initContainers (of containers, when it is classic). */}}
{{- define "podtap.sidecar" -}}
{{- $podtap := . -}}{{- with .Subcharts -}}{{- with .podtap -}}{{- $podtap = . -}}{{- end -}}{{- end -}}
{{- with $podtap -}}
{{- if and (not .Values.sidecar.classic) (semverCompare "<1.29-0" .Capabilities.KubeVersion.Version) -}}
{{- fail (printf "Kubernetes %s has no native sidecars: podtap would be an init container that never ends, and the pod never start. Set sidecar.classic=true and put podtap.sidecar under containers." .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- include "podtap.container" (dict "podtap" . "native" (not .Values.sidecar.classic)) -}}
{{- end -}}
{{- end -}}

{{/* The volumes of the sidecar, as items of volumes. */}}
{{- define "podtap.volumes" -}}
{{- $podtap := . -}}{{- with .Subcharts -}}{{- with .podtap -}}{{- $podtap = . -}}{{- end -}}{{- end -}}
- name: podtap-pod
  downwardAPI:
    items:
      - path: labels
        fieldRef:
          fieldPath: metadata.labels
      - path: annotations
        fieldRef:
          fieldPath: metadata.annotations
{{- range include "podtap.folders" $podtap | fromJson | values | uniq | sortAlpha | reverse }}
- name: {{ . }}
  emptyDir:
    sizeLimit: {{ ternary $podtap.Values.sidecar.spoolSizeLimit $podtap.Values.sidecar.filesSizeLimit (eq . "podtap-spool") }}
{{- end }}
{{- with $podtap.Values.sidecar.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Annotations of the pod template: settings are read at start, so a change of the ConfigMap has to roll the pods. */}}
{{- define "podtap.annotations" -}}
{{- $podtap := . -}}{{- with .Subcharts -}}{{- with .podtap -}}{{- $podtap = . -}}{{- end -}}{{- end -}}
podtap.io/config-checksum: {{ include "podtap.data" $podtap | trim | sha256sum }}
{{- end -}}

{{/* A grace period for the pod in which podtap's own (GRACE_PERIOD) fits. */}}
{{- define "podtap.terminationGracePeriodSeconds" -}}
{{- $podtap := . -}}{{- with .Subcharts -}}{{- with .podtap -}}{{- $podtap = . -}}{{- end -}}{{- end -}}
{{- $own := include "podtap.text" $podtap.Values.config.GRACE_PERIOD | default "25s" -}}
{{- $seconds := atoi (regexFind "^[0-9]+" $own) -}}
{{- $unit := regexFind "[a-z]*$" $own -}}
{{- if eq $unit "ms" }}{{ $seconds = div $seconds 1000 }}{{ else if eq $unit "m" }}{{ $seconds = mul $seconds 60 }}{{ else if eq $unit "h" }}{{ $seconds = mul $seconds 3600 }}{{ else if eq $unit "d" }}{{ $seconds = mul $seconds 86400 }}{{ end -}}
{{- max 30 (add $seconds 5) -}}
{{- end -}}

{{/* What the sidecar must be allowed, by what it records: a list in words. */}}
{{- define "podtap.capabilities" -}}
{{- $record := include "podtap.text" .Values.config.RECORD | default "http" | lower | replace " " "" | splitList "," -}}
{{- $needs := list -}}
{{- if or (has "http" $record) (has "flows" $record) }}{{ $needs = append $needs "NET_RAW" }}{{ end -}}
{{- $on := list "true" "1" "yes" "on" -}}
{{- $groups := include "podtap.text" .Values.config.VERDICT_GROUPS | default "none" | lower -}}
{{- if or (has "conntrack" $record) (and (has "verdicts" $record) (ne $groups "none")) }}{{ $needs = append $needs "NET_ADMIN" }}{{ end -}}
{{- if and (has "conntrack" $record) (has (include "podtap.text" .Values.config.CONNTRACK_ALL_NAMESPACES | lower) $on) }}{{ $needs = append $needs "NET_BROADCAST" }}{{ end -}}
{{- if and (has "verdicts" $record) (has (include "podtap.text" .Values.config.VERDICT_KMSG | lower) $on) }}{{ $needs = append $needs "SYSLOG" }}{{ end -}}
{{- if has "connects" $record }}{{ $needs = concat $needs (list "BPF" "PERFMON") }}{{ end -}}
{{- join ", " $needs -}}
{{- end -}}

{{/* The container: a dict of podtap (the chart's scope), native, and args; of the node's: resources, and the volume of its token. */}}
{{- define "podtap.container" -}}
{{- with .podtap -}}
- name: podtap
  image: {{ include "podtap.image" . | quote }}
  {{- with .Values.image.pullPolicy }}
  imagePullPolicy: {{ . }}
  {{- end }}
  {{- if $.native }}
  restartPolicy: Always
  {{- end }}
  {{- with $.args }}
  args: {{ toJson . }}
  {{- end }}
  {{- with include "podtap.metricsPort" . }}
  ports:
    - name: podtap-metrics
      containerPort: {{ . }}
  {{- end }}
  envFrom:
    - configMapRef:
        name: {{ include "podtap.configMapName" . }}
        optional: true
    {{- with .Values.existingSecret }}
    - secretRef:
        name: {{ . }}
        optional: true
    {{- end }}
  env:
    - name: POD_NAME
      valueFrom:
        fieldRef:
          fieldPath: metadata.name
    - name: POD_NAMESPACE
      valueFrom:
        fieldRef:
          fieldPath: metadata.namespace
    - name: POD_UID
      valueFrom:
        fieldRef:
          fieldPath: metadata.uid
    - name: POD_IP
      valueFrom:
        fieldRef:
          fieldPath: status.podIP
    - name: POD_IPS
      valueFrom:
        fieldRef:
          fieldPath: status.podIPs
    - name: NODE_NAME
      valueFrom:
        fieldRef:
          fieldPath: spec.nodeName
    {{- with .Values.sidecar.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $.resources | default .Values.sidecar.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  # If it ends unexpectedly, `kubectl describe pod` shows its last message.
  terminationMessagePolicy: FallbackToLogsOnError
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    readOnlyRootFilesystem: true
    allowPrivilegeEscalation: false
    capabilities:
      drop: [ALL]
      add: [{{ include "podtap.capabilities" . }}]
    seccompProfile:
      type: RuntimeDefault
  volumeMounts:
    - name: podtap-pod
      mountPath: /etc/podtap/pod
      readOnly: true
    {{- if not $.token }}
    # Hides the token of the pod's service account, which Kubernetes mounts unless something else is mounted there.
    {{- end }}
    - name: {{ $.token | default "podtap-pod" }}
      mountPath: /var/run/secrets/kubernetes.io/serviceaccount
      readOnly: true
    {{- range $folder, $volume := include "podtap.folders" . | fromJson }}
    - name: {{ $volume }}
      mountPath: {{ $folder }}
    {{- end }}
    {{- with .Values.sidecar.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
{{- end -}}
