//! Spans in the words of OTLP.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
pub(super) use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use super::Config;
use crate::trace::span::{Data, Kind, Value};

/// Whose spans they are.
pub(super) fn resource(config: &Config) -> Resource {
    let mut attributes = vec![
        pair("service.name", config.service.into()),
        pair("service.version", config.version.into()),
    ];
    if !config.node.is_empty() {
        let node = config.node.as_str();
        attributes.push(pair("service.instance.id", node.into()));
    }
    Resource {
        attributes,
        ..Resource::default()
    }
}

/// What is sent for some, and how many they are.
pub(super) fn request(resource: &Resource, ended: Vec<Data>) -> (u64, ExportTraceServiceRequest) {
    let spans: Vec<Span> = ended.into_iter().map(span).collect();
    let n_spans = spans.len() as u64;
    let scope = InstrumentationScope {
        name: "gatemq".to_owned(),
        ..InstrumentationScope::default()
    };
    let of_resource = ResourceSpans {
        resource: Some(resource.clone()),
        scope_spans: vec![ScopeSpans {
            scope: Some(scope),
            spans,
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![of_resource],
    };
    (n_spans, request)
}

fn span(data: Data) -> Span {
    let kind = match data.kind {
        Kind::Server => SpanKind::Server,
        Kind::Internal => SpanKind::Internal,
        Kind::Client => SpanKind::Client,
        Kind::Producer => SpanKind::Producer,
        Kind::Consumer => SpanKind::Consumer,
    };
    let status = data.failure.map(|message| Status {
        message,
        code: StatusCode::Error as i32,
    });
    let attributes = data.attributes.into_iter();
    Span {
        trace_id: data.context.trace_id.to_vec(),
        span_id: data.context.span_id.to_vec(),
        parent_span_id: data.parent.map_or_else(Vec::new, |id| id.to_vec()),
        flags: u32::from(data.context.flags),
        name: data.name.to_owned(),
        kind: kind as i32,
        start_time_unix_nano: nanos(data.start),
        end_time_unix_nano: nanos(data.start + data.took),
        attributes: attributes.map(|(name, value)| pair(name, value)).collect(),
        status,
        ..Span::default()
    }
}

fn pair(name: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => Any::StringValue(text.into_string()),
        Value::Number(number) => Any::IntValue(number),
        Value::Flag(flag) => Any::BoolValue(flag),
    };
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn nanos(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
