{{/* Metadata of a PodTemplate for the operator. Below `template` there is no version of chart or application: it would restart
every worker with each upgrade. dict "root" "template" "worker-cuda" */}}
{{- define "ai-assistant.podTemplateMetadata" -}}
name: {{ include "ai-assistant.fullname" .root }}-{{ .template }}
labels:
  {{- include "ai-assistant.labels" (dict "root" .root "component" "pod-template") | nindent 2 }}
  ai-assistant.dev/template: {{ .template }}
  ai-assistant.dev/install: {{ .root.Release.Name }}
annotations:
  ai-assistant.dev/contract: "1"
  {{- if .root.Values.networkPolicy.enabled }}
  {{- $monitoring := dict "namespaceSelector" (dict "matchLabels" .root.Values.networkPolicy.monitoringNamespaceLabels) }}
  {{- $metrics := list (dict "ports" (list (dict "port" "metrics")) "from" (list $monitoring)) }}
  # what the operator makes NetworkPolicies of; workers may have their model elsewhere, so that nobody knows where they go to
  ai-assistant.dev/network-policy: {{ dict "ingress" (ternary $metrics list (hasPrefix "worker" .template)) | toJson | quote }}
  {{- end }}
{{- end -}}

{{/* The volume of models: dict "root" */}}
{{- define "ai-assistant.storeVolume" -}}
- name: models
  {{- if eq .Values.store.mode "pod" }}
  emptyDir: {sizeLimit: {{ .Values.store.size }}}
  {{- else }}
  persistentVolumeClaim: {claimName: {{ include "ai-assistant.storeClaim" . }}}
  {{- end }}
{{- end -}}

{{/* The affinity of pods that mount the store: dict "root" "affinity" */}}
{{- define "ai-assistant.storeAffinity" -}}
{{- $affinity := deepCopy .affinity -}}
{{- if .root.Values.store.node -}}
{{- $expression := dict "key" "kubernetes.io/hostname" "operator" "In" "values" (list .root.Values.store.node) -}}
{{- $terms := dig "nodeAffinity" "requiredDuringSchedulingIgnoredDuringExecution" "nodeSelectorTerms" (list dict) $affinity -}}
{{- $here := list -}}
{{- range $terms -}}
{{- $here = append $here (merge (dict "matchExpressions" (append (.matchExpressions | default list) $expression)) .) -}}
{{- end -}}
{{- $_ := mustMergeOverwrite $affinity (dict "nodeAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $here))) -}}
{{- end -}}
{{- if $affinity }}
affinity: {{- toYaml $affinity | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The pod of a worker: dict "root" "image" "resources" "scheduling" "runtimeClassName" */}}
{{- define "ai-assistant.workerPod" -}}
{{- $pod := .root.Values.store.mode | eq "pod" -}}
metadata:
  {{- with .root.Values.worker.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- else }}
  annotations: {}
  {{- end }}
spec:
  {{- include "ai-assistant.podSecurity" (dict "user" 10001 "group" 10001) | nindent 2 }}
  {{- include "ai-assistant.pullSecrets" .root | nindent 2 }}
  {{- include "ai-assistant.scheduling" (omit .scheduling "affinity") | nindent 2 }}
  {{- include "ai-assistant.storeAffinity" (dict "root" .root "affinity" .scheduling.affinity) | nindent 2 }}
  {{- with .runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  # a task's deadline to drain, and a moment to hand back what is not done by then
  terminationGracePeriodSeconds: {{ add .root.Values.gateway.taskSeconds 15 }}
  containers:
    - name: worker
      image: {{ include "ai-assistant.image" (dict "root" .root "image" .image "ours" true) }}
      imagePullPolicy: {{ .image.pullPolicy }}
      args: [worker]
      env:
        {{- include "ai-assistant.logEnv" .root | nindent 8 }}
        {{- include "ai-assistant.databaseEnv" .root | nindent 8 }}
        {{- include "ai-assistant.redisEnv" .root | nindent 8 }}
        - {name: AI_ASSISTANT_MODEL_STORE, value: /models}
        {{- if not $pod }}
        - {name: HF_HUB_OFFLINE, value: "1"}
        {{- end }}
        - {name: AI_ASSISTANT_SLOTS, value: {{ .root.Values.worker.slots | int | quote }}}
        - {name: AI_ASSISTANT_DRAIN_SECONDS, value: {{ .root.Values.gateway.taskSeconds | int | quote }}}
        - {name: AI_ASSISTANT_WORKER_METRICS_HOST, value: 0.0.0.0}
        - {name: AI_ASSISTANT_WORKER_METRICS_PORT, value: "9100"}
        {{- with .root.Values.worker.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - {name: metrics, containerPort: 9100}
      # loading takes seconds; without a store the worker builds its model first
      startupProbe: {httpGet: {path: /livez, port: metrics}, periodSeconds: 2, timeoutSeconds: 5, failureThreshold: {{ ternary 1800 300 $pod }}}
      readinessProbe: {httpGet: {path: /readyz, port: metrics}, periodSeconds: 2, timeoutSeconds: 5}
      livenessProbe: {httpGet: {path: /livez, port: metrics}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 3}
      resources: {{- toYaml .resources | nindent 8 }}
      {{- include "ai-assistant.containerSecurity" . | nindent 6 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        - {name: models, mountPath: /models, readOnly: {{ not $pod }}}
  volumes:
    - {name: tmp, emptyDir: {}}
    {{- include "ai-assistant.storeVolume" .root | nindent 4 }}
{{- end -}}
