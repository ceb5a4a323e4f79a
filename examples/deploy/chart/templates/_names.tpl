{{/* The name of everything, and the labels that choose the pods. */}}
{{- define "gobelin.name" -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{- define "gobelin.selector" -}}
app.kubernetes.io/name: gobelin
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "gobelin.labels" -}}
{{ include "gobelin.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{/* gobelin.yaml: what the values say, and what only the chart can know. */}}
{{- define "gobelin.config" -}}
{{- $admin := merge (dict "listen" ":8001") (.Values.config.admin | default dict) -}}
{{- $store := printf "file:/etc/gobelin/secrets/%s" .Values.store.redis.urlKey -}}
{{- if eq .Values.store.kind "folder" }}{{ $store = "/data" }}{{ end -}}
{{- $own := dict "listen" ":8000" "admin" $admin "store" $store "drain" (dict "time" (printf "%ds" (int .Values.termination.drainSeconds))) -}}
{{- toYaml (merge $own .Values.config) -}}
{{- end }}
