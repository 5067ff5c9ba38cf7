{{/* Refuses values that contradict each other; what one value may be is in values.schema.json. */}}
{{- define "perssd.validate" -}}
{{- $store := .Values.store }}
{{- $credentials := $store.credentials }}
{{- if not $store.location }}
{{- fail "store.location is missing: give the bucket as s3://BUCKET/PREFIX, or a shared directory as file:///DIRECTORY" }}
{{- end }}
{{- $inline := or $credentials.accessKeyID $credentials.secretAccessKey }}
{{- if hasPrefix "file://" $store.location }}
{{- if not $store.volume }}
{{- fail "store.location is a shared directory and store.volume is missing: give the volume source that holds it, such as nfs: {server: ..., path: ...}" }}
{{- end }}
{{- if or $inline $credentials.existingSecret $credentials.ambient }}
{{- fail "store.credentials are for s3://, and store.location is a shared directory: remove them" }}
{{- end }}
{{- else }}
{{- if $store.volume }}
{{- fail "store.volume is for file:///, and store.location is a bucket: remove it" }}
{{- end }}
{{- if and $inline (not (and $credentials.accessKeyID $credentials.secretAccessKey)) }}
{{- fail "store.credentials needs both of accessKeyID and secretAccessKey, and one is missing" }}
{{- end }}
{{- $ways := 0 }}
{{- if $inline }}{{ $ways = add1 $ways }}{{ end }}
{{- if $credentials.existingSecret }}{{ $ways = add1 $ways }}{{ end }}
{{- if $credentials.ambient }}{{ $ways = add1 $ways }}{{ end }}
{{- if gt (int $ways) 1 }}
{{- fail "store.credentials says more than one way to get at the bucket: give existingSecret, or accessKeyID and secretAccessKey, or ambient, and not two of them" }}
{{- end }}
{{- if eq (int $ways) 0 }}
{{- fail "store.credentials is empty: give existingSecret, or accessKeyID and secretAccessKey; or ambient: true where pods get web identity or the machine's" }}
{{- end }}
{{- end }}

{{- if lt (int .Values.controller.replicas) 1 }}
{{- fail "controller.replicas is 0: without a controller no volume is made or attached; give 1 or more (uninstall the release to stop it)" }}
{{- end }}

{{- if not .Values.node.pools }}
{{- fail "node.pools is empty: give at least one pool, such as {name: default, directory: /var/lib/perssd/pool}; choose the nodes that have it with node.nodeSelector" }}
{{- end }}
{{- $pools := dict }}
{{- range $index, $pool := .Values.node.pools }}
{{- $name := $pool.name | default "default" }}
{{- $place := printf "node.pools[%d] (%s)" $index $name }}
{{- if hasKey $pools $name }}
{{- fail (printf "%s: two pools have that name; give each a name of its own" $place) }}
{{- end }}
{{- $_ := set $pools $name true }}
{{- if and $pool.directory $pool.volumeGroup }}
{{- fail (printf "%s has a directory and a volumeGroup: give one of them" $place) }}
{{- end }}
{{- if not (or $pool.directory $pool.volumeGroup) }}
{{- fail (printf "%s has neither a directory nor a volumeGroup: give one of them" $place) }}
{{- end }}
{{- if $pool.directory }}
{{- range $key := list "create" "drives" "layout" "stripes" "chunkSize" "overcommit" }}
{{- if hasKey $pool $key }}
{{- fail (printf "%s: %s goes with a volumeGroup, and this is a pool of images: remove it" $place $key) }}
{{- end }}
{{- end }}
{{- else }}
{{- if hasKey $pool "size" }}
{{- fail (printf "%s: size goes with a directory, and a volume group takes its drives: remove it" $place) }}
{{- end }}
{{- if and $pool.create (not $pool.drives) }}
{{- fail (printf "%s is to be created, and says no drives: give drives, such as {allEmptyNVMe: true} or {model: ...}" $place) }}
{{- end }}
{{- if and $pool.stripes (ne ($pool.layout | default "linear") "striped") }}
{{- fail (printf "%s: stripes go with layout: striped" $place) }}
{{- end }}
{{- end }}
{{- end }}
{{- if eq (int .Values.metrics.port) (int .Values.node.agentPort) }}
{{- fail "metrics.port and node.agentPort are the same: give two ports" }}
{{- end }}
{{- range $port := list .Values.metrics.port .Values.node.agentPort }}
{{- if eq (int $port) 9808 }}
{{- fail "port 9808 is livenessprobe's: give another for metrics.port or node.agentPort" }}
{{- end }}
{{- if eq (int $port) 9809 }}
{{- fail "port 9809 is the registrar's: give another for metrics.port or node.agentPort" }}
{{- end }}
{{- end }}

{{- $defaults := list }}
{{- $names := dict }}
{{- range $key, $class := .Values.storageClasses }}
{{- if $class.enabled }}
{{- $pool := (($class.parameters | default dict).pool) | default "default" }}
{{- if not (hasKey $pools $pool) }}
{{- fail (printf "storageClasses.%s is for the pool '%s', and node.pools has none of that name: add the pool, or set enabled: false" $key $pool) }}
{{- end }}
{{- if hasKey $names $class.name }}
{{- fail (printf "storageClasses.%s and storageClasses.%s are both named %s: give each a name of its own" (get $names $class.name) $key $class.name) }}
{{- end }}
{{- $_ := set $names $class.name $key }}
{{- if $class.clusterDefault }}
{{- if eq $key "scratch" }}
{{- fail "storageClasses.scratch can't be the cluster's default: it gives a lost node up after a minute, and keeps one generation; choose another class" }}
{{- end }}
{{- $defaults = append $defaults $key }}
{{- end }}
{{- end }}
{{- end }}
{{- if gt (len $defaults) 1 }}
{{- fail (printf "storageClasses %s are all the cluster's default: set clusterDefault for one" (join ", " $defaults)) }}
{{- end }}
{{- if and .Values.groupSnapshots.enabled (not .Values.snapshots.enabled) }}
{{- fail "groupSnapshots.enabled needs snapshots.enabled: the same sidecar makes both" }}
{{- end }}
{{- end }}
