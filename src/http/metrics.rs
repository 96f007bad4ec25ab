//! What `/metrics` shows: counters and histograms of the process, and gauges that are read from the
//! floors when somebody asks.

use std::fmt::Write;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// One line of a gauge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gauge {
    /// Its name, in snake case with the unit at the end.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// What tells it from other lines of the same name.
    pub label: Option<(&'static str, String)>,
    /// Its value.
    pub value: i64,
}

/// Reads gauges; none when they cannot be read at present.
pub type GaugeSource = Arc<dyn Fn() -> BoxFuture<'static, Option<Vec<Gauge>>> + Send + Sync>;

/// Everything that is shown.
#[derive(Clone, Default)]
pub struct Metrics {
    recorder: Option<PrometheusHandle>,
    sources: Vec<GaugeSource>,
}

/// How long one source may take. A scrape shows the others all the same.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(3);

/// The buckets of the engine's batch sizes.
const BATCH_BUCKETS: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0];

impl Metrics {
    /// The recorder of the process, installed when it is first asked for. A recorder that something
    /// else has installed stays, and this one then shows gauges only.
    pub fn of_process() -> Self {
        static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
        let recorder = RECORDER.get_or_init(|| {
            let batches = Matcher::Full("bursar_engine_batch_size".to_owned());
            let builder = PrometheusBuilder::new().set_buckets_for_metric(batches, &BATCH_BUCKETS);
            builder.ok()?.install_recorder().ok()
        });
        Self { recorder: recorder.clone(), sources: Vec::new() }
    }

    /// Adds a source of gauges.
    pub fn with<F>(mut self, source: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<Vec<Gauge>>> + Send + 'static,
    {
        self.sources.push(Arc::new(move || Box::pin(source())));
        self
    }

    /// Moves recorded samples into their buckets; to be called every few seconds, scraped or not.
    pub fn keep(&self) {
        if let Some(recorder) = &self.recorder {
            recorder.run_upkeep();
        }
    }

    /// Everything, as Prometheus reads it.
    pub async fn render(&self) -> String {
        let read = self.sources.iter().map(|source| tokio::time::timeout(SOURCE_TIMEOUT, source()));
        let read = join_all(read).await;
        let failed = read.iter().filter(|answer| !matches!(answer, Ok(Some(_)))).count();
        let mut gauges: Vec<Gauge> =
            read.into_iter().filter_map(|answer| answer.ok().flatten()).flatten().collect();
        gauges.push(Gauge {
            name: "bursar_metrics_sources_failed",
            help: "Sources of gauges that gave no answer to this scrape",
            label: None,
            value: i64::try_from(failed).unwrap_or(i64::MAX),
        });
        let mut text = self.recorder.as_ref().map(PrometheusHandle::render).unwrap_or_default();
        write_gauges(&mut text, gauges);
        text
    }
}

/// The text format: each name is explained once, before its lines.
fn write_gauges(text: &mut String, mut gauges: Vec<Gauge>) {
    gauges.sort_by_key(|gauge| gauge.name);
    let mut last = "";
    for Gauge { name, help, label, value } in &gauges {
        if *name != last {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n");
            last = name;
        }
        let _ = match label {
            Some((key, label)) => {
                let label = label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                writeln!(text, "{name}{{{key}=\"{label}\"}} {value}")
            }
            None => writeln!(text, "{name} {value}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gauge(name: &'static str, state: Option<&str>, value: i64) -> Gauge {
        Gauge { name, help: "Help", label: state.map(|s| ("state", s.to_owned())), value }
    }

    #[test]
    fn a_name_is_explained_once() {
        let mut text = String::new();
        let gauges = vec![gauge("b", Some("x"), 1), gauge("a", None, 2), gauge("b", Some("\""), 3)];
        write_gauges(&mut text, gauges);
        let expected = "# HELP a Help\n# TYPE a gauge\na 2\n\
            # HELP b Help\n# TYPE b gauge\nb{state=\"x\"} 1\nb{state=\"\\\"\"} 3\n";
        assert_eq!(text, expected);
    }

    #[tokio::test]
    async fn a_source_that_fails_is_counted_and_hides_nothing() {
        let metrics = Metrics::default()
            .with(|| async { None })
            .with(|| async { Some(vec![gauge("a", None, 5)]) });
        let text = metrics.render().await;
        assert!(text.contains("\na 5\n") && text.contains("sources_failed 1\n"), "{text}");
    }
}
