{{/* The gatemq.yml of each tier: what the ConfigMaps have, and by whose sum pods are made anew, those
     of one tier only. */}}

{{- define "gatemq.config-control" -}}
{{- $size := dict "cluster" (dict "control-size" (int .Values.controlPlane.replicas)) -}}
{{- mustMergeOverwrite (include "gatemq.config" . | fromYaml) $size .Values.controlPlane.config | toYaml -}}
{{- end }}

{{- define "gatemq.config-gateway" -}}
{{- $gateway := .Values.gateway -}}
{{- $listeners := list -}}
{{- $tls := dict "certificate" "/etc/gatemq/tls/tls.crt" "key" "/etc/gatemq/tls/tls.key" -}}
{{- if $gateway.tls.clientCaSecret -}}{{- $_ := set $tls "client-ca" "/etc/gatemq/client-ca/ca.crt" -}}{{- end -}}
{{- range $transport := include "gatemq.listeners" . | fromJsonArray -}}
{{- $listener := dict "transport" $transport "address" (printf ":%d" (int (get $gateway.listeners $transport).port)) -}}
{{- if has $transport (list "tls" "wss") -}}{{- $_ := set $listener "tls" $tls -}}{{- end -}}
{{- if $gateway.proxyFrom -}}{{- $_ := set $listener "proxy-from" $gateway.proxyFrom -}}{{- end -}}
{{- $listeners = append $listeners $listener -}}
{{- end -}}
{{- $sources := list -}}
{{- if .Values.auth.usersSecret -}}{{- $sources = append $sources (dict "type" "file" "path" "/etc/gatemq/users/users.yml") -}}{{- end -}}
{{- $sources = concat $sources .Values.auth.sources -}}
{{- $of := .Values.redis -}}
{{- $redis := dict "addr" $of.addr "mode" $of.mode "master-name" $of.masterName "username" $of.username "prefix" $of.prefix "wait-replicas" (int $of.waitReplicas) -}}
{{- if $of.tls.enabled -}}
{{- $_ := set $redis "tls" (dict "enable" true "ca" (ternary "/etc/gatemq/redis/ca.crt" "" (ne $of.tls.caSecret ""))) -}}
{{- end -}}
{{- $own := dict "tcp" "" "ws" "" "listeners" $listeners "allow-anonymous" .Values.auth.allowAnonymous "redis" $redis "grace" "30s" -}}
{{- if $sources -}}{{- $_ := set $own "auth" (dict "sources" $sources) -}}{{- end -}}
{{- mustMergeOverwrite (include "gatemq.config" . | fromYaml) $own $gateway.config | toYaml -}}
{{- end }}

{{- define "gatemq.config-bridge" -}}
{{- $bridge := dict "kafka" .Values.bridge.kafka "rules" .Values.bridge.rules "spool" (dict "path" "/var/lib/gatemq/spool") -}}
{{- mustMergeOverwrite (include "gatemq.config" . | fromYaml) (dict "grace" "30s" "bridge" $bridge) .Values.bridge.config | toYaml -}}
{{- end }}

{{/* What clients may connect by, of tcp, ws, tls and wss; a list. Their ports are called mqtt, ws,
     mqtts and wss. */}}
{{- define "gatemq.listeners" -}}
{{- $of := .Values.gateway.listeners -}}
{{- $transports := list -}}
{{- if $of.tcp.enabled -}}{{- $transports = append $transports "tcp" -}}{{- end -}}
{{- if $of.ws.enabled -}}{{- $transports = append $transports "ws" -}}{{- end -}}
{{- if .Values.gateway.tls.existingSecret -}}
{{- $transports = append $transports "tls" -}}
{{- if $of.wss.enabled -}}{{- $transports = append $transports "wss" -}}{{- end -}}
{{- end -}}
{{- toJson $transports -}}
{{- end }}
