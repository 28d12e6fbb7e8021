{{/* Made by `UPDATE=1 cargo test --test it chart`: the settings that no ConfigMap may hold. */}}
{{- define "podtap.secrets" -}}

{{- end -}}
