{{/* A Job of a hook in the operator's image: dict "root" "name" "account" "hook" "weight" "args" (list) "crd" (bool) */}}
{{- define "ai-assistant.hookJob" -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .name }}
  labels: {{- include "ai-assistant.labels" (dict "root" .root "component" "hook") | nindent 4 }}
  annotations: {{- include "ai-assistant.hookAnnotations" . | nindent 4 }}
spec:
  backoffLimit: 3
  activeDeadlineSeconds: 300
  template:
    metadata:
      labels: {{- include "ai-assistant.selector" (dict "root" .root "component" "hook") | nindent 8 }}
    spec:
      restartPolicy: Never
      serviceAccountName: {{ .account }}
      {{- include "ai-assistant.podSecurity" (dict "user" 10001 "group" 10001 "token" true) | nindent 6 }}
      {{- include "ai-assistant.pullSecrets" .root | nindent 6 }}
      {{- include "ai-assistant.scheduling" .root.Values.operator | nindent 6 }}
      containers:
        - name: hook
          image: {{ include "ai-assistant.image" (dict "root" .root "image" .root.Values.operator.image "ours" true) }}
          imagePullPolicy: {{ .root.Values.operator.image.pullPolicy }}
          command: [python, -m, ai_assistant_operator.install]
          args: {{- toYaml .args | nindent 12 }}
          resources:
            requests: {cpu: 50m, memory: 64Mi}
            limits: {memory: 256Mi}
          {{- include "ai-assistant.containerSecurity" . | nindent 10 }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            {{- if .crd }}
            - {name: crd, mountPath: /crd, readOnly: true}
            {{- end }}
      volumes:
        - {name: tmp, emptyDir: {}}
        {{- if .crd }}
        - {name: crd, configMap: {name: {{ .name }}}}
        {{- end }}
{{- end -}}

{{/* What failed stays for a look at it. dict "hook" "weight" */}}
{{- define "ai-assistant.hookAnnotations" -}}
helm.sh/hook: {{ .hook }}
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
