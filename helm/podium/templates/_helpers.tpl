{{/* What things are called, and what both workloads have in common. */}}

{{- define "podium.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The prefix of every object: the release's name, with the chart's unless it is part of it. 40 characters leave room for what follows. */}}
{{- define "podium.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "podium.name" . -}}
{{- (contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name)) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Cluster-scoped objects also carry the namespace: releases of one name in two namespaces are two. */}}
{{- define "podium.clusterName" -}}
{{- printf "%s-%s" (include "podium.fullname" .) .Release.Namespace | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels of every object; call with (dict "context" $ "component" "operator"), or with an empty component. */}}
{{- define "podium.labels" -}}
{{ include "podium.selectorLabels" . }}
app.kubernetes.io/version: {{ .context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .context.Release.Service }}
app.kubernetes.io/part-of: podium
helm.sh/chart: {{ printf "%s-%s" .context.Chart.Name .context.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "podium.selectorLabels" -}}
app.kubernetes.io/name: {{ include "podium.name" .context }}
app.kubernetes.io/instance: {{ .context.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{/* An image's name; call with (dict "context" $ "image" .Values.operator.image). */}}
{{- define "podium.image" -}}
{{- $repository := .image.repository -}}
{{- with .context.Values.image.registry -}}{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository -}}{{- end -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .context.Chart.AppVersion .image.tag) -}}
{{- end -}}
{{- end -}}

{{/* A component's ServiceAccount; call with (dict "context" $ "component" "operator"). */}}
{{- define "podium.serviceAccountName" -}}
{{- $account := (index .context.Values .component).serviceAccount -}}
{{- if $account.create -}}
{{- default (printf "%s-%s" (include "podium.fullname" .context) .component) $account.name -}}
{{- else -}}
{{- default "default" $account.name -}}
{{- end -}}
{{- end -}}

{{- define "podium.tokenSecretName" -}}
{{- default (printf "%s-token" (include "podium.fullname" .)) .Values.token.existingSecret -}}
{{- end -}}

{{- define "podium.storeClaimName" -}}
{{- default (printf "%s-store" (include "podium.fullname" .)) .Values.suggestion.store.sqlite.existingClaim -}}
{{- end -}}

{{/* Both workloads mount the token and a small writable /tmp; everything else is read-only. */}}
{{- define "podium.commonVolumes" -}}
- name: token
  secret:
    secretName: {{ include "podium.tokenSecretName" . }}
    items: [{key: {{ .Values.token.key | quote }}, path: token}]
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- end -}}

{{- define "podium.commonVolumeMounts" -}}
- {name: token, mountPath: /var/run/podium, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- end -}}

{{/* Where a pod goes; call with the component's values. */}}
{{- define "podium.placement" -}}
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
{{- with .topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The pods of trials, as the operator labels them. */}}
{{- define "podium.trialSelector" -}}
matchLabels: {app.kubernetes.io/managed-by: podium}
matchExpressions: [{key: podium.dev/trial, operator: Exists}]
{{- end -}}
