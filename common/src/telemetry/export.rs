//! Export: finished spans are kept until the end of the invocation and then handed to a collector (OTLP over HTTP,
//! protobuf) before the handler returns, since a function is frozen between invocations. Which traces are exported is
//! decided where they begin.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use bytes::Bytes;
use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId};
use opentelemetry::trace::{TraceState, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    Sampler, SamplingDecision, SamplingResult, SdkTracer, SdkTracerProvider, ShouldSample, Span, SpanData,
    SpanExporter as _, SpanProcessor,
};
use tokio::time::Instant;

use crate::config::TraceConfig;
use crate::http;
use crate::time::limit_ms;

/// How long a collector may hold up an answer.
const EXPORT_TIMEOUT: Duration = limit_ms(500);
/// How long a collector is left alone that did not take spans.
const PAUSE: Duration = Duration::from_secs(10);
/// How many spans are kept for one export, some hundred bytes each.
const SPANS_MAX: usize = 4_096;

/// Hands the spans of this process to the collector.
pub(crate) struct Exporter {
    finished: Arc<Finished>,
    exporter: SpanExporter,
    /// When the collector is tried again.
    paused_until: Mutex<Option<Instant>>,
}

/// The tracer of a function, and the exporter if there is a collector.
pub(super) fn tracer(function: &'static str, config: Option<TraceConfig>) -> (SdkTracer, Option<Exporter>) {
    let provider = SdkTracerProvider::builder();
    let Some(TraceConfig { endpoint, headers, share, function_name }) = config else {
        return (provider.with_sampler(Sampler::AlwaysOff).build().tracer("madang"), None);
    };
    let name = KeyValue::new("service.name", format!("madang-{function}"));
    let resource = Resource::builder_empty().with_attributes([name, KeyValue::new("faas.name", function_name)]).build();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_headers(headers)
        .with_timeout(EXPORT_TIMEOUT)
        .with_retry_policy(RetryPolicy::disabled())
        .with_http_client(Client(http::Client::default()))
        .build();
    let mut exporter = exporter.expect("the address was checked, and there is a client");
    exporter.set_resource(&resource);
    let finished = Arc::new(Finished::default());
    let provider = provider.with_sampler(Sampling(share)).with_resource(resource);
    let provider = provider.with_span_processor(Processor(Arc::clone(&finished))).build();
    (provider.tracer("madang"), Some(Exporter { finished, exporter, paused_until: Mutex::default() }))
}

impl Exporter {
    /// Exports what is finished. A collector that does not take it costs spans, and little time: never an answer.
    pub(crate) async fn export(&self) {
        let spans = self.finished.take();
        if spans.is_empty() || self.is_paused() {
            return;
        }
        let count = spans.len();
        let cause = match tokio::time::timeout(EXPORT_TIMEOUT, self.exporter.export(spans)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(cause, count, "spans are lost: OTEL_EXPORTER_OTLP_ENDPOINT does not take them");
        *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + PAUSE);
    }

    fn is_paused(&self) -> bool {
        let until = *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }
}

/// The spans that are finished and not yet exported.
#[derive(Debug, Default)]
struct Finished(Mutex<Vec<SpanData>>);

impl Finished {
    fn add(&self, span: SpanData) {
        let mut spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spans.len() < SPANS_MAX {
            spans.push(span);
        }
    }

    fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Keeps what is finished.
#[derive(Debug)]
struct Processor(Arc<Finished>);

impl SpanProcessor for Processor {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.add(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Which traces are exported: those that X-Ray has chosen, and this share of the others. X-Ray also says "not sampled"
/// when nobody has switched it on, so that its "no" is no decision.
#[derive(Debug, Clone)]
struct Sampling(f64);

impl ShouldSample for Sampling {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let parent = parent.map(|parent| parent.span().span_context().clone()).filter(|parent| parent.is_valid());
        let decision = match &parent {
            Some(parent) if parent.is_sampled() => SamplingDecision::RecordAndSample,
            Some(parent) if !parent.is_remote() => SamplingDecision::Drop,
            Some(_) | None => {
                let share = Sampler::TraceIdRatioBased(self.0);
                share.should_sample(None, trace_id, name, kind, attributes, links).decision
            }
        };
        let trace_state = parent.map_or_else(TraceState::default, |parent| parent.trace_state().clone());
        SamplingResult { decision, attributes: Vec::new(), trace_state }
    }
}

/// The HTTP client, as the exporter calls it.
#[derive(Debug)]
struct Client(http::Client);

impl HttpClient for Client {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: ::http::Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<::http::Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let request = HttpRequest::try_from(request.map(Into::into))?;
            let answer = self.0.call(request).await?;
            Ok(::http::Response::builder().status(answer.status).body(answer.body)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags};

    use super::*;

    fn check(share: f64, parent: Option<(TraceFlags, bool)>, expected: SamplingDecision) {
        let trace_id = TraceId::from(0x5759_e988_bd86_2e3f_e1be_46a9_9427_2793);
        let context = parent.map(|(flags, is_remote)| {
            let span = SpanContext::new(trace_id, SpanId::from(1), flags, is_remote, TraceState::NONE);
            Context::new().with_remote_span_context(span)
        });
        let sampled = Sampling(share).should_sample(context.as_ref(), trace_id, "", &SpanKind::Server, &[], &[]);
        assert_eq!(sampled.decision, expected, "{share} {parent:?}");
    }

    #[test]
    fn x_rays_choice_is_exported_and_a_share_of_the_others() {
        use SamplingDecision::{Drop, RecordAndSample};
        let (chosen, not_chosen) = (TraceFlags::SAMPLED, TraceFlags::NOT_SAMPLED);
        check(0.0, Some((chosen, true)), RecordAndSample);
        check(1.0, Some((not_chosen, true)), RecordAndSample);
        check(0.0, Some((not_chosen, true)), Drop);
        check(1.0, None, RecordAndSample);
        check(0.0, None, Drop);
        // Within a function what was decided stands.
        check(0.0, Some((chosen, false)), RecordAndSample);
        check(1.0, Some((not_chosen, false)), Drop);
    }
}
