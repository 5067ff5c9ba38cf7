{{/* What all objects' names begin with. */}}
{{- define "perssd.name" -}}
{{- if contains "perssd" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-perssd" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "perssd.labels" -}}
app.kubernetes.io/name: perssd
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* What chooses the pods of a component; never changes, as a DaemonSet's selector can't. Call: (list $ "node") */}}
{{- define "perssd.selector" -}}
app.kubernetes.io/name: perssd
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "perssd.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "perssd.secretName" -}}
{{- with .Values.store.credentials -}}
{{- if .existingSecret }}{{ .existingSecret }}{{ else if .accessKeyID }}{{ include "perssd.name" $ }}-bucket{{ end }}
{{- end }}
{{- end }}

{{/* The directory of a file:/// location. */}}
{{- define "perssd.sharedDirectory" -}}
{{- if hasPrefix "file://" .Values.store.location }}{{ trimPrefix "file://" .Values.store.location }}{{ end }}
{{- end }}

{{/* What both plugins' configuration files have in common. */}}
{{- define "perssd.configuration" -}}
cluster: {{ .Values.cluster | quote }}
store:
  location: {{ .Values.store.location | quote }}
  {{- with .Values.store.endpoint }}
  endpoint: {{ . | quote }}
  {{- end }}
  {{- with .Values.store.region }}
  region: {{ . | quote }}
  {{- end }}
  addressing: {{ .Values.store.addressing }}
  parallelRequests: {{ .Values.store.parallelRequests }}
  {{- if .Values.store.certificateAuthorities.configMap }}
  certificateAuthorities: /etc/perssd/authorities/ca.pem
  {{- end }}
  {{- if include "perssd.secretName" . }}
  credentialsDirectory: /etc/perssd/credentials
  {{- end }}
metrics:
  listen: {{ printf "%s:%d" (ternary "[::]" "0.0.0.0" .Values.node.ipv6) (int .Values.metrics.port) | quote }}
log:
  level: {{ .Values.log.level }}
  format: {{ .Values.log.format }}
{{- end }}

{{- define "perssd.controllerConfiguration" -}}
{{ include "perssd.configuration" . }}
kubernetes:
  events: {{ ternary "auto" "off" .Values.events.enabled | quote }}
collection:
  interval: {{ .Values.collection.interval }}
  grace: {{ .Values.collection.grace }}
{{- end }}

{{- define "perssd.nodeConfiguration" -}}
{{ include "perssd.configuration" . }}
kubernetes:
  events: {{ ternary "auto" "off" .Values.events.enabled | quote }}
  {{- if .Values.events.enabled }}
  tokenFile: /etc/perssd/account/token
  certificateAuthorities: /etc/perssd/account/ca.crt
  {{- end }}
stateDirectory: {{ .Values.node.stateDirectory | quote }}
targetDirectory: {{ .Values.node.kubeletDirectory | quote }}
maximumVolumes: {{ int .Values.node.maximumVolumes }}
transfers:
  parallel: {{ int .Values.node.parallelTransfers }}
  stageOutBandwidth: {{ .Values.node.stageOutBandwidth | quote }}
termination:
  flush: {{ int .Values.node.flushOnTermination }}s
pools:
  {{- toYaml .Values.node.pools | nindent 2 }}
{{- end }}

{{/* Mounts of the plugin's container that have to do with its settings and the store. */}}
{{- define "perssd.storeMounts" -}}
- name: configuration
  mountPath: /etc/perssd/configuration
  readOnly: true
{{- if include "perssd.secretName" . }}
- name: credentials
  mountPath: /etc/perssd/credentials
  readOnly: true
{{- end }}
{{- if .Values.store.certificateAuthorities.configMap }}
- name: authorities
  mountPath: /etc/perssd/authorities
  readOnly: true
{{- end }}
{{- with include "perssd.sharedDirectory" . }}
- name: store
  mountPath: {{ . }}
{{- end }}
{{- end }}

{{/* The same volumes of the pod. Call: (list $ "node") */}}
{{- define "perssd.storeVolumes" -}}
{{- $component := index . 1 }}
{{- with index . 0 }}
- name: configuration
  configMap:
    name: {{ include "perssd.name" . }}-{{ $component }}
{{- with include "perssd.secretName" . }}
- name: credentials
  secret:
    secretName: {{ . }}
    # Root, and the pod's fsGroup.
    defaultMode: 0440
{{- end }}
{{- with .Values.store.certificateAuthorities }}
{{- if .configMap }}
- name: authorities
  configMap:
    name: {{ .configMap }}
    items:
      - key: {{ .key }}
        path: ca.pem
{{- end }}
{{- end }}
{{- if include "perssd.sharedDirectory" . }}
- name: store
  {{- toYaml .Values.store.volume | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* A sidecar talks to a socket and to the API server, and needs nothing else. */}}
{{- define "perssd.sidecar" -}}
imagePullPolicy: IfNotPresent
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  {{- toYaml .Values.sidecars.resources | nindent 2 }}
{{- end }}

{{/* livenessprobe turns CSI's Probe into HTTP. It asks on a port of its own on the pod's address. */}}
{{- define "perssd.livenessprobe" -}}
- name: livenessprobe
  image: {{ .Values.sidecars.livenessprobe.image }}
  args:
    - --csi-address=/csi/csi.sock
    - --http-endpoint=:9808
    # A Probe asks the bucket.
    - --probe-timeout=8s
    - --v={{ .Values.sidecars.verbosity }}
  {{- include "perssd.sidecar" . | nindent 2 }}
  volumeMounts:
    - name: socket
      mountPath: /csi
{{- end }}

{{/* Probes of a plugin's container. */}}
{{- define "perssd.probes" -}}
# The plugin asks itself at its own socket, and nobody else: a new process helps where the old one hangs, and never where the bucket
# is away, at the start or later. From the first moment, so that no startupProbe has to say how long a start may take.
livenessProbe:
  httpGet:
    path: /healthz
    port: metrics
  initialDelaySeconds: 30
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 6
# CSI's Probe, by livenessprobe: says at once that the bucket or a pool can't be used, and holds up a rollout. /readyz says why.
readinessProbe:
  httpGet:
    path: /healthz
    port: 9808
  periodSeconds: 10
  timeoutSeconds: 10
{{- end }}
