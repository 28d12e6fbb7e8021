{{/* Names and the certificate of the admission webhook. */}}

{{- define "podtap.webhook.name" -}}
{{ include "podtap.fullname" . }}-webhook
{{- end -}}

{{- define "podtap.webhook.selectorLabels" -}}
{{ include "podtap.selectorLabels" . }}
app.kubernetes.io/component: webhook
{{- end -}}

{{- define "podtap.webhook.labels" -}}
{{ include "podtap.labels" . }}
app.kubernetes.io/component: webhook
{{- end -}}

{{/* The flags by which `podtap webhook` adds the sidecar that podtap.sidecar would give. */}}
{{- define "podtap.webhook.sidecar" -}}
- --image={{ include "podtap.image" . }}
{{- with .Values.image.pullPolicy }}
- --image-pull-policy={{ . }}
{{- end }}
- --config-map={{ include "podtap.configMapName" . }}
{{- with .Values.existingSecret }}
- --secret={{ . }}
{{- end }}
{{- if .Values.sidecar.classic }}
- --classic
{{- end }}
{{- $requests := .Values.sidecar.resources.requests | default dict }}
{{- $limits := .Values.sidecar.resources.limits | default dict }}
- --cpu={{ $requests.cpu | default "none" }}
- --cpu-limit={{ $limits.cpu | default "none" }}
- --memory={{ $limits.memory | default "none" }}
- --memory-request={{ $requests.memory | default "none" }}
{{- /* These change the container, so the webhook must know them, although podtap reads them from the ConfigMap. */}}
{{- range $name := list "METRICS_ADDR" "SPOOL_DIR" "FILE_PATH" "DEAD_LETTER_PATH" }}
{{- with include "podtap.text" (get $.Values.config $name) }}
- --env={{ $name }}={{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/*
The certificate, as a Secret's data: the one that is there, else a new one for ten years. Made once for each rendering,
so that the Secret and the webhook's caBundle agree: call it once and hand it on.
*/}}
{{- define "podtap.webhook.certificate" -}}
{{- $name := include "podtap.webhook.name" . -}}
{{- $found := dict -}}
{{- with lookup "v1" "Secret" .Release.Namespace (printf "%s-tls" $name) -}}
{{- $found = .data | default dict -}}
{{- end -}}
{{- if and (index $found "ca.crt") (index $found "tls.crt") (index $found "tls.key") -}}
ca.crt: {{ index $found "ca.crt" }}
tls.crt: {{ index $found "tls.crt" }}
tls.key: {{ index $found "tls.key" }}
{{- else -}}
{{- $ca := genCAWithKey (printf "%s-ca" $name) 3650 (genPrivateKey "ecdsa") -}}
{{- $host := printf "%s.%s.svc" $name .Release.Namespace -}}
{{- $names := list $host (printf "%s.%s" $name .Release.Namespace) (printf "%s.cluster.local" $host) -}}
{{- $certificate := genSignedCertWithKey $host nil $names 3650 $ca (genPrivateKey "ecdsa") -}}
ca.crt: {{ $ca.Cert | b64enc }}
tls.crt: {{ $certificate.Cert | b64enc }}
tls.key: {{ $certificate.Key | b64enc }}
{{- end -}}
{{- end -}}
