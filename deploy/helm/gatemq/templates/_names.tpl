{{/* Names, labels, and what all tiers have. */}}

{{- define "gatemq.name" -}}
{{- $chart := .Values.nameOverride | default .Chart.Name -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name $chart) (contains $chart .Release.Name) -}}
{{- .Values.fullnameOverride | default $name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "gatemq.account" -}}
{{- .Values.serviceAccount.name | default (ternary (include "gatemq.name" .) "default" .Values.serviceAccount.create) -}}
{{- end }}

{{- define "gatemq.selector" -}}
app.kubernetes.io/name: {{ .Values.nameOverride | default .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "gatemq.labels" -}}
{{ include "gatemq.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* The image of a tier: (list $ .Values.TIER) */}}
{{- define "gatemq.image" -}}
{{- $root := index . 0 }}{{- $tier := index . 1 }}
{{- $tag := $tier.image.tag | default $root.Values.image.tag | default $root.Chart.AppVersion -}}
{{ with $root.Values.image.registry }}{{ . }}/{{ end }}{{ $tier.image.repository }}:{{ $tag }}
{{- end }}

{{/* The nodes of the control plane, through which all others join. */}}
{{- define "gatemq.members" -}}
{{- $name := include "gatemq.name" . -}}
{{- $members := list -}}
{{- range $i := until (int .Values.controlPlane.replicas) -}}
{{- $members = append $members (printf "%s-control-%d.%s-control.%s.svc:7946" $name $i $name $.Release.Namespace) -}}
{{- end -}}
{{- toJson $members -}}
{{- end }}

{{/* What each node's gatemq.yml has; a map. */}}
{{- define "gatemq.config" -}}
data-dir: /var/lib/gatemq
http: :8080
{{- if not .Values.api.tokens }}
# Health and figures only: /api/v1 answers nobody without a token.
http-allow-anonymous: true
{{- else }}
api:
  tokens: {{- toYaml .Values.api.tokens | nindent 4 }}
{{- end }}
cluster:
  members: {{ include "gatemq.members" . }}
  {{- if eq .Values.nodeTls.mode "csi" }}
  tls:
    ca: /etc/gatemq/node/ca.crt
    cert: /etc/gatemq/node/tls.crt
    key: /etc/gatemq/node/tls.key
  {{- end }}
  allow-plaintext: {{ .Values.nodeTls.allowPlaintext }}
{{- with .Values.tracing.endpoint }}
tracing:
  endpoint: {{ . | quote }}
  ratio: {{ $.Values.tracing.ratio }}
{{- end }}
log:
  level: {{ .Values.log.level | quote }}
  format: {{ .Values.log.format | quote }}
{{- end }}

{{/* Who a node is, and where: (list $ TIER) */}}
{{- define "gatemq.env" -}}
{{- $root := index . 0 }}{{- $name := index . 1 -}}
- name: GATEMQ_NODE_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: GATEMQ_CLUSTER_BIND_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- name: GATEMQ_CLUSTER_ADVERTISE_IP
{{- if eq $name "control" }}
  # Whoever votes is looked for where it was: addresses are those of pods, names stay.
  value: $(GATEMQ_NODE_NAME).{{ include "gatemq.name" $root }}-control.{{ $root.Release.Namespace }}.svc
{{- else }}
  value: $(GATEMQ_CLUSTER_BIND_IP)
{{- end }}
{{- with $root.Values.gossip.existingSecret }}
- name: GATEMQ_CLUSTER_GOSSIP_KEYS
  valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: {{ $root.Values.gossip.key | quote }}}}
{{- end }}
{{- end }}

{{/* Pods of one tier: (list $ .Values.TIER TIER) */}}
{{- define "gatemq.pod" -}}
{{- $root := index . 0 }}{{- $tier := index . 1 }}{{- $name := index . 2 -}}
serviceAccountName: {{ include "gatemq.account" $root }}
automountServiceAccountToken: false
# Kubernetes' variables of services begin with the release's name, as GateMQ's own do.
enableServiceLinks: false
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.podSecurityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $tier.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $tier.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $tier.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
affinity:
  {{- with $tier.affinity }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels: {{- include "gatemq.selector" $root | nindent 14 }}
              app.kubernetes.io/component: {{ $name }}
  {{- end }}
topologySpreadConstraints:
  {{- with $tier.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  - maxSkew: 1
    topologyKey: {{ $tier.topologyKey | quote }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "gatemq.selector" $root | nindent 8 }}
        app.kubernetes.io/component: {{ $name }}
  {{- end }}
{{- end }}

{{- define "gatemq.probes" -}}
# A node waits for others before it is ready; until then it is alive.
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 3
  timeoutSeconds: 3
  failureThreshold: 2
{{- end }}

{{/* The volume with a node's certificate: (list $ ROLE) */}}
{{- define "gatemq.node-certificate" -}}
{{- $root := index . 0 }}{{- $role := index . 1 -}}
- name: node
  csi:
    driver: csi.cert-manager.io
    readOnly: true
    volumeAttributes:
      csi.cert-manager.io/issuer-name: {{ $root.Values.nodeTls.csi.issuerName | quote }}
      csi.cert-manager.io/issuer-kind: {{ $root.Values.nodeTls.csi.issuerKind | quote }}
      csi.cert-manager.io/uri-sans: {{ printf "gatemq://%s/%s/${POD_NAME}" $root.Values.clusterName $role | quote }}
      csi.cert-manager.io/key-usages: digital signature,server auth,client auth
      csi.cert-manager.io/key-encoding: PKCS8
      csi.cert-manager.io/duration: {{ $root.Values.nodeTls.csi.duration | quote }}
      csi.cert-manager.io/ca-file: ca.crt
      csi.cert-manager.io/certificate-file: tls.crt
      csi.cert-manager.io/privatekey-file: tls.key
      csi.cert-manager.io/fs-group: {{ $root.Values.podSecurityContext.fsGroup | quote }}
{{- end }}

{{- define "gatemq.check" -}}
{{- if and (eq .Values.nodeTls.mode "none") (not .Values.nodeTls.allowPlaintext) }}
{{- fail "nodeTls.mode is none: say by nodeTls.allowPlaintext=true that nobody else is on this network" }}
{{- end }}
{{- if and (not .Values.gossip.existingSecret) (not .Values.nodeTls.allowPlaintext) }}
{{- fail "gossip.existingSecret is missing: name a Secret with the key of the gossip, or say nodeTls.allowPlaintext=true" }}
{{- end }}
{{- if not (or .Values.auth.usersSecret .Values.auth.sources .Values.auth.allowAnonymous .Values.gateway.tls.clientCaSecret) }}
{{- fail "nobody knows the clients: set auth.usersSecret or auth.sources, or auth.allowAnonymous=true" }}
{{- end }}
{{- $transports := include "gatemq.listeners" . | fromJsonArray }}
{{- if not $transports }}
{{- fail "clients have nothing to connect to: set gateway.tls.existingSecret, or enable one of gateway.listeners" }}
{{- end }}
{{- if and .Values.gateway.listeners.wss.enabled (not .Values.gateway.tls.existingSecret) }}
{{- fail "gateway.listeners.wss has no certificate: set gateway.tls.existingSecret" }}
{{- end }}
{{- if and (or (has "tcp" $transports) (has "ws" $transports)) (ne .Values.gateway.service.type "ClusterIP") (not .Values.gateway.allowPlaintext) }}
{{- fail "gateway.service.type: passwords of clients would come in the clear from outside of Kubernetes: set gateway.listeners.tcp.enabled=false (and ws), with gateway.tls.existingSecret, or say gateway.allowPlaintext=true" }}
{{- end }}
{{- if .Values.gateway.autoscaling.enabled }}
{{- $of := .Values.gateway.autoscaling }}
{{- if not (or $of.cpu $of.memory $of.metrics) }}
{{- fail "gateway.autoscaling has nothing to go by: set cpu, memory or metrics" }}
{{- end }}
{{- if lt (int $of.maxReplicas) (int $of.minReplicas) }}
{{- fail "gateway.autoscaling.maxReplicas is less than minReplicas" }}
{{- end }}
{{- end }}
{{- if .Values.bridge.enabled }}
{{- $bridge := (include "gatemq.config-bridge" . | fromYaml).bridge }}
{{- if not (or $bridge.rules (get $bridge "from-kafka") $bridge.mqtt) }}
{{- fail "bridge.enabled: bridge.kafka and bridge.rules are missing" }}
{{- end }}
{{- if and (regexMatch `(?m)\back: *"?spool\b` (toYaml $bridge)) (not .Values.bridge.persistence.enabled) }}
{{- fail "bridge.rules: what is acknowledged with ack: spool would be lost with its pod: set bridge.persistence.enabled=true" }}
{{- end }}
{{- end }}
{{- with .Values.api.ingress }}
{{- if and .enabled (not .host) }}
{{- fail "api.ingress.host is missing" }}
{{- end }}
{{- if and .enabled (not .tlsSecret) (not .allowPlaintext) }}
{{- fail "api.ingress: tokens would be in the clear: set tlsSecret, or say allowPlaintext=true where something else ends TLS" }}
{{- end }}
{{- end }}
{{- if and (or .Values.api.ingress.enabled (ne .Values.api.service.type "ClusterIP")) (not .Values.api.tokens) }}
{{- fail "api: nobody could ask without a token: set api.tokens (`gatemq token` makes one)" }}
{{- end }}
{{- $there := lookup "apps/v1" "StatefulSet" .Release.Namespace (printf "%s-control" (include "gatemq.name" .)) }}
{{- $n := dig "spec" "replicas" 0 $there | int }}
{{- if and (lt (int .Values.controlPlane.replicas) $n) (not .Values.controlPlane.allowFewer) }}
{{- fail (printf "controlPlane.replicas: %d nodes vote, and those that go would be missed for ever: remove them by the API first (DELETE /api/v1/members/%s-control-%d?kind=control, the last one first), then say controlPlane.allowFewer=true" $n (include "gatemq.name" .) (sub $n 1)) }}
{{- end }}
{{- end }}
