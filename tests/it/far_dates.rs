//! Timestamps of every unit in the years 1 to 9999: SQL compares them like integers, and truncates them by the calendar.

use std::sync::Arc;

use chrono::{DateTime, Datelike, Days, NaiveDate, Timelike};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::parquet::data_type::{Int96, Int96Type};
use datafusion::parquet::file::writer::SerializedFileWriter;
use datafusion::parquet::schema::parser::parse_message_type;
use futures::TryStreamExt;
use vatic::{Engine, Session};

/// The names of units, and the nanoseconds in each.
const UNITS: [(&str, i128); 4] = [
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];
const SEEDS: u64 = 24;
const ROWS: usize = 12;
const YEAR_1: i128 = -62_135_596_800;
const YEAR_9999_ENDS: i128 = 253_402_300_800;

/// A small generator: the same numbers for a seed on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        // Knuth's constants; the upper bits are the random ones.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// A moment in the unit, and the same moment in nanoseconds.
    fn moment(&mut self, unit: i128) -> (i64, i128) {
        loop {
            let span = (YEAR_9999_ENDS - YEAR_1) as u64;
            let second = match self.below(4) {
                // The end of the range of nanoseconds, and today.
                0 => 9_223_372_036 - 3 + i128::from(self.below(6)),
                1 => 1_700_000_000 + i128::from(self.below(3)),
                _ => YEAR_1 + i128::from((self.below(1 << 31) << 10 | self.below(1 << 10)) % span),
            };
            let fraction = match self.below(3) {
                0 => 0,
                1 => i128::from(self.below(1_000_000)) * 1_000,
                _ => i128::from(self.below(1_000_000_000)),
            };
            let moment = (second * 1_000_000_000 + fraction).div_euclid(unit);
            if let Ok(value) = i64::try_from(moment) {
                return (value, moment * unit);
            }
        }
    }
}

async fn rows(session: &Session, sql: &str) -> Vec<Vec<String>> {
    let stream = match session.sql(sql).await {
        Ok(stream) => stream,
        Err(error) => panic!("{sql}: {}", vatic::report(&error).message),
    };
    let batches: Vec<RecordBatch> = match stream.try_collect().await {
        Ok(batches) => batches,
        Err(error) => panic!("{sql}: {}", vatic::report(&error).message),
    };
    let mut all = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let columns = batch.columns().iter();
            all.push(
                columns
                    .map(|column| array_value_to_string(column, row).unwrap())
                    .collect(),
            );
        }
    }
    all
}

fn at(moment: i128) -> DateTime<chrono::Utc> {
    let seconds = moment.div_euclid(1_000_000_000) as i64;
    let rest = moment.rem_euclid(1_000_000_000) as u32;
    DateTime::from_timestamp(seconds, rest).unwrap()
}

/// As an ISO text with all digits.
fn iso(moment: i128) -> String {
    at(moment).format("%Y-%m-%d %H:%M:%S%.9f").to_string()
}

fn truncated(moment: i128, precision: &str) -> i128 {
    let time = at(moment);
    let date = time.date_naive();
    let first = match precision {
        "year" => date.with_ordinal(1),
        "quarter" => NaiveDate::from_ymd_opt(date.year(), date.month0() / 3 * 3 + 1, 1),
        "month" => date.with_day(1),
        "week" => date.checked_sub_days(Days::new(date.weekday().num_days_from_monday().into())),
        _ => Some(date),
    };
    let midnight = first.unwrap().and_hms_opt(0, 0, 0).unwrap().and_utc();
    let hours = if precision == "hour" { time.hour() } else { 0 };
    i128::from(midnight.timestamp() + i64::from(hours) * 3600) * 1_000_000_000
}

/// The oldest form of timestamps in Parquet, which Spark writes: it has no unit, and room for every date.
#[test]
fn far_dates_of_spark_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spark.parquet");
    let schema = parse_message_type("message m { REQUIRED INT96 at; }").unwrap();
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let mut end = Int96::new();
    // The Julian day of 9999-12-31.
    end.set_data(0, 0, 5_373_484);
    let values = column.typed::<Int96Type>();
    values.write_batch(&[end], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let found = runtime.block_on(async {
        let session = Engine::builder().build().unwrap().session().unwrap();
        let create = format!(
            "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{}'",
            path.display()
        );
        rows(&session, &create).await;
        rows(&session, "SELECT at, at = '9999-12-31' FROM t").await
    });
    assert_eq!(found, [["9999-12-31T00:00:00", "true"]]);
}

#[test]
fn comparisons_are_those_of_whole_numbers_and_truncation_is_that_of_the_calendar() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for seed in 0..SEEDS {
        runtime.block_on(check(seed));
    }
}

async fn check(seed: u64) {
    let mut random = Random(seed);
    let (left_unit, left_size) = UNITS[random.below(4) as usize];
    let (right_unit, right_size) = UNITS[random.below(4) as usize];
    let mut pairs = Vec::new();
    for _ in 0..ROWS {
        let left = random.moment(left_size);
        let right = match random.below(3) {
            // The same moment, if the unit has enough digits.
            0 if left.1 % right_size == 0 => match i64::try_from(left.1 / right_size) {
                Ok(value) => (value, left.1),
                Err(_) => random.moment(right_size),
            },
            _ => random.moment(right_size),
        };
        pairs.push((left, right));
    }
    let session = Engine::builder().build().unwrap().session().unwrap();
    let values = pairs.iter().enumerate().map(|(row, (left, right))| {
        format!(
            "({row}, arrow_cast({}, 'Timestamp({left_unit})'), arrow_cast({}, 'Timestamp({right_unit})'))",
            left.0, right.0
        )
    });
    let values: Vec<String> = values.collect();
    rows(
        &session,
        &format!(
            "CREATE TABLE t AS SELECT * FROM (VALUES {}) AS v(r, a, b)",
            values.join(", ")
        ),
    )
    .await;
    let expect = |of: &dyn Fn(i128, i128) -> bool| -> Vec<String> {
        let chosen = pairs.iter().enumerate();
        let chosen = chosen.filter(|(_, (left, right))| of(left.1, right.1));
        chosen.map(|(row, _)| row.to_string()).collect()
    };
    let place = random.below(ROWS as u64) as usize;
    let (other, far) = (pairs[place].1.1, pairs[0].0.1);
    let (text, late) = (iso(other), iso(far));
    let (low, high) = (other.min(far), other.max(far));
    let (from, to) = (iso(low), iso(high));
    let conditions: Vec<(String, Vec<String>)> = vec![
        ("a = b".into(), expect(&|a, b| a == b)),
        ("a <> b".into(), expect(&|a, b| a != b)),
        ("a < b".into(), expect(&|a, b| a < b)),
        ("NOT (a <= b)".into(), expect(&|a, b| a > b)),
        ("a >= b".into(), expect(&|a, b| a >= b)),
        ("a IS NOT DISTINCT FROM b".into(), expect(&|a, b| a == b)),
        ("b IN (a, NULL)".into(), expect(&|a, b| a == b)),
        (format!("a < '{text}'"), expect(&|a, _| a < other)),
        (format!("'{text}' <= a"), expect(&|a, _| a >= other)),
        (format!("b = '{text}'"), expect(&|_, b| b == other)),
        (
            format!("a IN ('{text}', '{late}')"),
            expect(&|a, _| a == other || a == far),
        ),
        (
            format!("a BETWEEN '{from}' AND '{to}'"),
            expect(&|a, _| low <= a && a <= high),
        ),
        (
            format!("b NOT BETWEEN '{from}' AND '{to}'"),
            expect(&|_, b| b < low || high < b),
        ),
        (
            format!("b >= DATE '{}'", &text[..10]),
            expect(&|_, b| b >= truncated(other, "day")),
        ),
        (
            "a IN (SELECT b FROM t AS inner_t)".into(),
            expect(&|a, _| pairs.iter().any(|(_, (_, b))| *b == a)),
        ),
        (
            "EXISTS (SELECT 1 FROM t AS o WHERE o.b > t.a AND o.r = t.r)".into(),
            expect(&|a, b| b > a),
        ),
    ];
    for (condition, expected) in conditions {
        let sql = format!("SELECT r FROM t WHERE {condition} ORDER BY r");
        let found: Vec<String> = rows(&session, &sql).await.concat();
        assert_eq!(
            found, expected,
            "seed {seed}: {condition} ({left_unit}, {right_unit})"
        );
    }
    let joined = rows(
        &session,
        "SELECT count(*) FROM t AS l JOIN t AS o ON l.a = o.b",
    )
    .await;
    let matches = pairs
        .iter()
        .flat_map(|(left, _)| pairs.iter().filter(move |(_, right)| left.1 == right.1));
    assert_eq!(
        joined.concat(),
        [matches.count().to_string()],
        "seed {seed}"
    );
    for precision in ["year", "quarter", "month", "week", "day", "hour"] {
        let sql =
            format!("SELECT arrow_cast(date_trunc('{precision}', a), 'Int64') FROM t ORDER BY r");
        // Year 1 begins on a Monday, so no moment truncates to a year before; the first nanoseconds truncate out of range.
        let fits = |moment: i128| i64::try_from(moment / left_size).is_ok();
        let expected: Vec<i128> = pairs
            .iter()
            .map(|(left, _)| truncated(left.1, precision))
            .collect();
        if expected.iter().all(|moment| fits(*moment)) {
            let expected: Vec<String> = expected
                .iter()
                .map(|moment| (moment / left_size).to_string())
                .collect();
            let found = rows(&session, &sql).await.concat();
            assert_eq!(found, expected, "seed {seed}: {precision} ({left_unit})");
        }
    }
}
