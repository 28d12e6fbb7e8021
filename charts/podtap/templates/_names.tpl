{{/* Names, labels and other words used by the chart itself. What other charts include is in _podtap.tpl. */}}

{{- define "podtap.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 45 characters, so that what is appended still makes a name. */}}
{{- define "podtap.fullname" -}}
{{- $name := include "podtap.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "podtap.selectorLabels" -}}
app.kubernetes.io/name: {{ include "podtap.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "podtap.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "podtap.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "podtap.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "podtap.configMapName" -}}
{{- .Values.configMap.name | default (include "podtap.fullname" .) -}}
{{- end -}}

{{/* A value as a variable holds it: lists with commas, whole numbers without exponent, nothing for null. */}}
{{- define "podtap.text" -}}
{{- if kindIs "slice" . -}}
{{- $items := list -}}
{{- range . }}{{ $items = append $items (include "podtap.text" .) }}{{ end -}}
{{- join "," $items -}}
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- printf "%.0f" . -}}
{{- else if not (kindIs "invalid" .) -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{/* What is set, as the ConfigMap's data. */}}
{{- define "podtap.data" -}}
{{- $secrets := splitList " " (include "podtap.secrets" .) -}}
{{- range $name, $value := .Values.config -}}
{{- $text := include "podtap.text" $value -}}
{{- if $text }}
{{- if has $name $secrets }}
{{- fail (printf "config.%s is a secret: put it into a Secret under the key %s, and name that Secret in existingSecret" $name $name) }}
{{- end }}
{{ $name }}: {{ $text | quote }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The port of METRICS_ADDR; nothing when it is none. */}}
{{- define "podtap.metricsPort" -}}
{{- $address := include "podtap.text" .Values.config.METRICS_ADDR | default ":19199" -}}
{{- if ne $address "none" -}}
{{- regexFind "[0-9]+$" $address -}}
{{- end -}}
{{- end -}}

{{/* What is written to, as JSON: each folder with the name of its volume, as `podtap inject` gives them. */}}
{{- define "podtap.folders" -}}
{{- $folders := dict -}}
{{- range list "FILE_PATH" "DEAD_LETTER_PATH" -}}
{{- $path := include "podtap.text" (index $.Values.config .) -}}
{{- $folder := dir $path -}}
{{- if and (hasPrefix "/" $path) (not (has $folder (list "/" "/dev" "/proc/self/fd"))) -}}
{{- $_ := set $folders $folder "podtap-files" -}}
{{- end -}}
{{- end -}}
{{- $spool := include "podtap.text" .Values.config.SPOOL_DIR -}}
{{- if hasPrefix "/" $spool -}}
{{- $_ := set $folders $spool "podtap-spool" -}}
{{- end -}}
{{- toJson $folders -}}
{{- end -}}

{{/* For containers of ours that need no capability. */}}
{{- define "podtap.restricted" -}}
runAsNonRoot: true
runAsUser: {{ .user }}
runAsGroup: {{ .user }}
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}
