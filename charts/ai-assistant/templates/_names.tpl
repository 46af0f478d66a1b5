{{- define "ai-assistant.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select pods: dict "root" $ "component" "gateway". Not the operator's `name: ai-assistant` children: those have no instance. */}}
{{- define "ai-assistant.selector" -}}
app.kubernetes.io/name: ai-assistant
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of objects; pods get only the selector, so that a new chart version alone restarts nothing. */}}
{{- define "ai-assistant.labels" -}}
{{ include "ai-assistant.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* dict "root" $ "image" .Values.x.image "ours" true */}}
{{- define "ai-assistant.image" -}}
{{- $name := .image.repository -}}
{{- if .ours }}{{ $name = printf "%s%s" .root.Values.imagePrefix $name }}{{ end -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (.image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "ai-assistant.authSecret" -}}
{{ include "ai-assistant.fullname" . }}-auth
{{- end -}}

{{- define "ai-assistant.serviceTokenSecret" -}}
{{ .Values.auth.serviceToken.existingSecret | default (include "ai-assistant.authSecret" .) }}
{{- end -}}

{{- define "ai-assistant.botKeySecret" -}}
{{ .Values.auth.botKey.existingSecret | default (include "ai-assistant.authSecret" .) }}
{{- end -}}

{{- define "ai-assistant.apiKeysSecret" -}}
{{ .Values.auth.apiKeys.existingSecret | default (include "ai-assistant.authSecret" .) }}
{{- end -}}

{{- define "ai-assistant.postgresqlSecret" -}}
{{ .Values.postgresql.auth.existingSecret | default (printf "%s-postgresql" (include "ai-assistant.fullname" .)) }}
{{- end -}}

{{- define "ai-assistant.valkeySecret" -}}
{{ .Values.valkey.auth.existingSecret | default (printf "%s-valkey" (include "ai-assistant.fullname" .)) }}
{{- end -}}

{{/* Secrets of the release itself, which no Assistant may name. */}}
{{- define "ai-assistant.ownSecrets" -}}
{{- $names := list (include "ai-assistant.serviceTokenSecret" .) (include "ai-assistant.botKeySecret" .) (include "ai-assistant.apiKeysSecret" .) -}}
{{- $names = append $names (ternary (include "ai-assistant.postgresqlSecret" .) .Values.externalDatabase.existingSecret .Values.postgresql.enabled) -}}
{{- $names = append $names (ternary (include "ai-assistant.valkeySecret" .) .Values.externalRedis.existingSecret .Values.valkey.enabled) -}}
{{- $names | uniq | sortAlpha | join "," -}}
{{- end -}}

{{- define "ai-assistant.storeClaim" -}}
{{ .Values.store.existingClaim | default (printf "%s-models" (include "ai-assistant.fullname" .)) }}
{{- end -}}

{{/* Gateways with one more during a rollout, workers with two each, and a reserve for migrations and people. */}}
{{- define "ai-assistant.connections" -}}
{{- $gateways := ternary .Values.gateway.autoscaling.maxReplicas .Values.gateway.replicas .Values.gateway.autoscaling.enabled | int -}}
{{- add (mul (add $gateways 1) (int .Values.gateway.connections)) (mul 2 (int .Values.worker.maxTotal)) 20 -}}
{{- end -}}
