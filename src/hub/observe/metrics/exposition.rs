//! Prometheus's text format, version 0.0.4. No I/O.

use std::fmt::{Display, Write};

use crate::state::stats::Histogram;

/// Label names and values. Values are untrusted and are escaped.
pub type Labels<'l> = &'l [(&'l str, &'l str)];

/// A text under construction.
#[derive(Debug, Default)]
pub struct Exposition(String);

/// A metric whose samples are being appended.
pub struct Family<'e> {
    out: &'e mut String,
    name: &'static str,
}

impl Exposition {
    /// Begins a metric. `kind` is `counter`, `gauge` or `histogram`.
    pub fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { out: &mut self.0, name }
    }

    /// Appends a metric with one sample and no labels.
    pub fn single(&mut self, name: &'static str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// Appends a sample.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.push_sample("", labels, None, value);
    }

    /// Appends the samples of a histogram: its cumulative buckets, sum and count.
    pub fn histogram(&mut self, labels: Labels<'_>, histogram: &Histogram) {
        for (bound, count) in histogram.cumulative() {
            self.push_sample("_bucket", labels, Some(&bound), count);
        }
        self.push_sample("_bucket", labels, Some(&"+Inf"), histogram.count());
        self.push_sample("_sum", labels, None, histogram.sum_seconds());
        self.push_sample("_count", labels, None, histogram.count());
    }

    fn push_sample(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<&dyn Display>, value: impl Display) {
        let _ = write!(self.out, "{}{suffix}", self.name);
        let mut before = '{';
        for (name, value) in labels {
            let _ = write!(self.out, "{before}{name}=\"");
            value.chars().for_each(|c| self.push_escaped(c));
            self.out.push('"');
            before = ',';
        }
        if let Some(bound) = bound {
            let _ = write!(self.out, "{before}le=\"{bound}\"");
            before = ',';
        }
        if before == ',' {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }

    fn push_escaped(&mut self, c: char) {
        match c {
            '\\' => self.out.push_str("\\\\"),
            '"' => self.out.push_str("\\\""),
            '\n' => self.out.push_str("\\n"),
            _ => self.out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn metrics_are_written_as_prometheus_reads_them() {
        let mut out = Exposition::default();
        out.single("rooms", "gauge", "Rooms.", 3);
        let mut histogram = Histogram::new(&[10, 2500]);
        [1, 20, 9000].into_iter().for_each(|millis| histogram.add(Duration::from_millis(millis)));
        out.family("wait_seconds", "histogram", "Waits.").histogram(&[("room", "A")], &histogram);
        let expected = "# HELP rooms Rooms.\n# TYPE rooms gauge\nrooms 3\n\
            # HELP wait_seconds Waits.\n# TYPE wait_seconds histogram\n\
            wait_seconds_bucket{room=\"A\",le=\"0.01\"} 1\nwait_seconds_bucket{room=\"A\",le=\"2.5\"} 2\n\
            wait_seconds_bucket{room=\"A\",le=\"+Inf\"} 3\nwait_seconds_sum{room=\"A\"} 9.021\nwait_seconds_count{room=\"A\"} 3\n";
        assert_eq!(out.finish(), expected);
    }

    #[test]
    fn no_label_breaks_out_of_its_quotes() {
        let mut out = Exposition::default();
        let mut family = out.family("x", "counter", "X.");
        family.sample(&[("id", "a\"} 1\nb\\"), ("other", "größe 🦀")], 2);
        assert_eq!(out.finish().lines().last(), Some(r#"x{id="a\"} 1\nb\\",other="größe 🦀"} 2"#));
    }
}
