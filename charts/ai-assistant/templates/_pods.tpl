{{/* What the restricted Pod Security Standard asks of a pod: dict "user" 10001 "group" 10001 */}}
{{- define "ai-assistant.podSecurity" -}}
automountServiceAccountToken: {{ .token | default false }}
# the variables of a Service named ai-assistant-... would be taken for settings
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user }}
  runAsGroup: {{ .group }}
  fsGroup: {{ .group }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "ai-assistant.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "ai-assistant.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* dict of one component's values */}}
{{- define "ai-assistant.scheduling" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Spread over nodes and zones where there are several: dict "root" "component" */}}
{{- define "ai-assistant.spread" -}}
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "ai-assistant.selector" $ | nindent 8 }}
  {{- end }}
{{- end -}}

{{- define "ai-assistant.logEnv" -}}
- {name: AI_ASSISTANT_LOG_LEVEL, value: {{ .Values.logLevel }}}
- {name: AI_ASSISTANT_LOG_FORMAT, value: json}
{{- end -}}

{{/* PostgreSQL. A variable without our prefix carries the password, for one with it that is no setting is an error. */}}
{{- define "ai-assistant.databaseEnv" -}}
{{- if .Values.postgresql.enabled }}
- name: POSTGRES_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "ai-assistant.postgresqlSecret" . }}, key: {{ .Values.postgresql.auth.key }}}}
- name: AI_ASSISTANT_DATABASE_URL
  value: postgresql://assistant:$(POSTGRES_PASSWORD)@{{ include "ai-assistant.fullname" . }}-postgresql:5432/assistant
{{- else }}
- name: AI_ASSISTANT_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ .Values.externalDatabase.existingSecret }}, key: {{ .Values.externalDatabase.key }}}}
{{- end }}
{{- end -}}

{{- define "ai-assistant.redisEnv" -}}
{{- if .Values.valkey.enabled }}
- name: VALKEY_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "ai-assistant.valkeySecret" . }}, key: {{ .Values.valkey.auth.key }}}}
- name: AI_ASSISTANT_REDIS_URL
  value: redis://:$(VALKEY_PASSWORD)@{{ include "ai-assistant.fullname" . }}-valkey:6379/0
{{- else }}
- name: AI_ASSISTANT_REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ .Values.externalRedis.existingSecret }}, key: {{ .Values.externalRedis.key }}}}
{{- end }}
{{- end -}}
