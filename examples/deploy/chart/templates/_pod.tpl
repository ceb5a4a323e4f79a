{{/* The pod, the same for a Deployment and a StatefulSet. */}}
{{- define "gobelin.pod" -}}
metadata:
  labels:
    {{- include "gobelin.labels" . | nindent 4 }}
  annotations:
    # Another configuration is another pod.
    checksum/config: {{ include "gobelin.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add .Values.termination.delaySeconds .Values.termination.drainSeconds 10 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: gobelin
      image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve, --config, /etc/gobelin/gobelin.yaml]
      env:
        - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        - {name: GOBELIN_NODE_ID, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: GOBELIN_NODE_ADVERTISE, value: "http://$(POD_IP):8001"}
        # The image has a folder there; the file is to say where.
        - {name: GOBELIN_STORE, value: {{ (include "gobelin.config" . | fromYaml).store | quote }}}
      ports:
        - {name: public, containerPort: 8000}
        - {name: admin, containerPort: 8001}
      startupProbe:
        httpGet: {path: /readyz, port: admin}
        periodSeconds: 1
        timeoutSeconds: 3
        failureThreshold: 120
      readinessProbe:
        httpGet: {path: /readyz, port: admin}
        periodSeconds: 2
        timeoutSeconds: 3
        failureThreshold: 1
      # Not /readyz: a node whose store is away gains nothing by being started again.
      livenessProbe:
        httpGet: {path: /healthz, port: admin}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      lifecycle:
        # Proxies learn of the end of a pod a little later than the pod.
        preStop:
          sleep: {seconds: {{ .Values.termination.delaySeconds }}}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: config, mountPath: /etc/gobelin/gobelin.yaml, subPath: gobelin.yaml, readOnly: true}
        - {name: secrets, mountPath: /etc/gobelin/secrets, readOnly: true}
        {{- if eq .Values.store.kind "folder" }}
        - {name: data, mountPath: /data}
        {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ include "gobelin.name" . }}}
    - name: secrets
      secret: {secretName: {{ .Values.secrets.existing }}, defaultMode: 0440}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{ toYaml . | nindent 6 | trim }}
      labelSelector:
        matchLabels:
          {{- include "gobelin.selector" $ | nindent 10 }}
    {{- end }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
