//! What rows are looked up in: rates, statuses, networks of addresses and cards. From the seeds of the warehouse, so that a payment
//! has one amount and one place everywhere.
//!
//! The rules are those of the warehouse's models (`curated/exchange_rates.sql`, `curated/transactions.sql`).

use affluent_features::definition::ColumnType;
use affluent_model::Currency;
use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, RecordBatch};
use chrono::NaiveDate;
use std::collections::{HashMap, HashSet};

/// Rates have so many decimal places, as in the warehouse.
const RATE_PLACES: u32 = 12;
/// Published rates have so many.
const PUBLISHED_PLACES: u32 = 8;
/// A rate holds for so many days where no newer one was published.
const RATE_DAYS: i64 = 366;
const DAY: i64 = 86_400_000_000;
/// Days from 2000 to 2049, since 1970.
const EUROS: (i64, i64) = (10_957, 29_220);

/// Why a seed cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed}: {problem}")]
pub struct ReferenceError {
    seed: String,
    problem: String,
}

/// The tables in memory. They do not change while a process runs.
#[derive(Debug, Default)]
pub struct References {
    /// (kind of row, status at the source) to the canonical status.
    statuses: HashMap<(String, String), String>,
    /// Currency to (day since 1970, rate to the reporting currency), in order of days.
    rates: HashMap<String, Vec<(i64, i128)>>,
    /// Decimal places of the reporting currency.
    reporting_places: u32,
    /// Leading groups of an address to a country.
    networks: HashMap<String, String>,
    /// Leading digits of a card, its network, its country.
    bins: Vec<(String, String, String)>,
    countries: HashSet<String>,
    /// Country to the middle of it: north and east, in millionths of degrees.
    places: HashMap<String, (i64, i64)>,
}

impl References {
    /// Reads the seeds: tables of text by name.
    ///
    /// # Errors
    /// [`ReferenceError`]: which seed is missing or cannot be read.
    pub fn new<'a>(seed: impl Fn(&str) -> Option<&'a RecordBatch>) -> Result<Self, ReferenceError> {
        let statuses = rows("statuses", &seed, ["entity", "source_status", "status"])?.into_iter();
        let networks = rows("ip_networks", &seed, ["prefix", "country"])?.into_iter();
        let bins = rows("bin_ranges", &seed, ["prefix", "network", "country"])?.into_iter();
        let settings = rows("settings", &seed, ["name", "value"])?;
        let currencies = rows("currencies", &seed, ["code", "minor_units"])?;
        let reporting = settings.iter().find(|row| row[0] == "reporting_currency").map(|row| row[1].clone());
        let reporting = reporting.ok_or_else(|| wrong("settings", "there is no reporting_currency"))?;
        let places = currencies.iter().find(|row| row[0] == reporting).and_then(|row| row[1].parse().ok());
        let no_places = || wrong("currencies", &format!("{reporting} has no minor units"));
        Ok(References {
            statuses: statuses.map(|[kind, from, to]| ((kind, from), to)).collect(),
            rates: rates(&rows("fx_rates", &seed, ["date", "currency", "rate"])?, &reporting)?,
            reporting_places: places.ok_or_else(no_places)?,
            networks: networks.map(|[prefix, country]| (prefix, country)).collect(),
            bins: bins.map(|[prefix, network, country]| (prefix, network, country)).collect(),
            countries: rows("countries", &seed, ["code"])?.into_iter().map(|[code]| code).collect(),
            places: places_of(&rows("country_places", &seed, ["country", "latitude", "longitude"])?)?,
        })
    }

    /// The canonical word for a status.
    #[must_use]
    pub fn status(&self, kind: &str, status: &str) -> Option<&str> {
        self.statuses.get(&(kind.to_owned(), status.to_owned())).map(String::as_str)
    }

    /// An amount in minor units of the reporting currency, at the rate of the day of `time` or the last one before, rounded half to
    /// even. None where there is no rate.
    ///
    /// # Errors
    /// A message: the amount is too large.
    pub fn reporting(
        &self,
        (unscaled, scale): (i128, u32),
        currency: &str,
        time: i64,
    ) -> Result<Option<i64>, String> {
        let day = time.div_euclid(DAY);
        let Some(rates) = self.rates.get(currency) else { return Ok(None) };
        let later = rates.partition_point(|(published, _)| *published <= day);
        let Some(&(published, rate)) = later.checked_sub(1).map(|last| &rates[last]) else { return Ok(None) };
        if day > published + RATE_DAYS {
            return Ok(None);
        }
        let too_large = || format!("an amount in {currency} is too large");
        let exact = unscaled
            .checked_mul(rate)
            .and_then(|exact| exact.checked_mul(10i128.pow(self.reporting_places)))
            .ok_or_else(too_large)?;
        let divisor = 10i128.checked_pow(scale + RATE_PLACES).ok_or_else(too_large)?;
        i64::try_from(half_to_even(exact, divisor)).map(Some).map_err(|_| too_large())
    }

    /// The country of an address, else that of a card, else `??`.
    #[must_use]
    pub fn country(&self, address: Option<&str>, bin: Option<&str>) -> &str {
        let of_address = address.and_then(|address| self.network_country(address));
        let of_card = || bin.and_then(|bin| Some(&self.bin(bin)?.2));
        let known = |country: &&String| self.countries.contains(*country);
        of_address.filter(known).or_else(|| of_card().filter(known)).map_or("??", String::as_str)
    }

    /// The middle of a country: north and east, in millionths of degrees.
    #[must_use]
    pub(crate) fn place(&self, country: &str) -> Option<(i64, i64)> {
        self.places.get(country).copied()
    }

    /// The network of a card, `unknown` where it is none of those known.
    #[must_use]
    pub fn network(&self, bin: Option<&str>) -> &str {
        bin.and_then(|bin| self.bin(bin)).map_or("unknown", |(_, network, _)| network)
    }

    /// By the first three groups of an address, else two, else one.
    fn network_country(&self, address: &str) -> Option<&String> {
        let separator = if address.contains(':') { ':' } else { '.' };
        let mut ends = address.match_indices(separator).map(|(place, _)| place);
        let (one, two, three) = (ends.next(), ends.next(), ends.next());
        let of = |end: Option<usize>| self.networks.get(&address[..end.unwrap_or(address.len())]);
        match separator {
            ':' => of(two),
            _ => of(three).or_else(|| of(two)).or_else(|| of(one)),
        }
    }

    /// The range with the longest prefix of a card number.
    fn bin(&self, bin: &str) -> Option<&(String, String, String)> {
        let ranges = self.bins.iter().filter(|(prefix, ..)| bin.starts_with(prefix.as_str()));
        ranges.max_by_key(|(prefix, ..)| prefix.len())
    }
}

/// An amount in minor units of its own currency.
///
/// # Errors
/// A message: it is no currency, or the amount has more places than it.
pub(crate) fn minor_units((unscaled, scale): (i128, u32), currency: &str) -> Result<i64, String> {
    let currency: Currency =
        currency.parse().map_err(|error: affluent_model::MoneyError| error.to_string())?;
    let places = currency.exponent();
    let (scaled, rest) = if scale >= places {
        let divisor = 10i128.checked_pow(scale - places).ok_or("an amount with too many places")?;
        (Some(unscaled / divisor), unscaled % divisor)
    } else {
        (unscaled.checked_mul(10i128.pow(places - scale)), 0)
    };
    match scaled.and_then(|units| i64::try_from(units).ok()) {
        Some(units) if rest == 0 => Ok(units),
        Some(_) => Err(format!("an amount has more than {places} decimal places, too many for {currency}")),
        None => Err(format!("an amount in {currency} is too large")),
    }
}

fn half_to_even(value: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (value.div_euclid(divisor), value.rem_euclid(divisor));
    match rest.cmp(&(divisor - rest)) {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Greater => quotient + 1,
        std::cmp::Ordering::Equal => quotient + quotient.rem_euclid(2),
    }
}

/// Rates to the reporting currency of days on which both have one per euro.
fn rates(
    published: &[[String; 3]],
    reporting: &str,
) -> Result<HashMap<String, Vec<(i64, i128)>>, ReferenceError> {
    let wrong = |text: &str, what: &str| wrong("fx_rates", &format!("{text:?} is no {what}"));
    let euro = 10i128.pow(PUBLISHED_PLACES);
    let mut days: HashMap<i64, HashMap<&str, i128>> = HashMap::new();
    for [date, currency, rate] in published {
        let day = NaiveDate::parse_from_str(date, "%Y-%m-%d").map_err(|_| wrong(date, "day"))?;
        let day = day.signed_duration_since(NaiveDate::default()).num_days();
        let scaled = scaled(rate).filter(|rate| *rate > 0).ok_or_else(|| wrong(rate, "rate"))?;
        days.entry(day).or_default().extend([("EUR", euro), (currency.as_str(), scaled)]);
    }
    let mut rates: HashMap<String, Vec<(i64, i128)>> = HashMap::new();
    for (day, per_euro) in days {
        let Some(base) = per_euro.get(reporting) else { continue };
        for (currency, rate) in per_euro.iter().map(|(currency, rate)| (*currency, *rate)) {
            let rate = base * 10i128.pow(RATE_PLACES) / rate;
            rates.entry(currency.to_owned()).or_default().push((day, rate));
        }
    }
    // A euro is a euro also where nobody publishes rates, as in `curated/exchange_rates.sql`.
    if reporting == "EUR" {
        let days = (EUROS.0..EUROS.1).step_by(RATE_DAYS as usize);
        rates.entry(reporting.to_owned()).or_default().extend(days.map(|day| (day, 10i128.pow(RATE_PLACES))));
    }
    rates.values_mut().for_each(|days| days.sort_unstable());
    Ok(rates)
}

/// Countries with their middles.
fn places_of(rows: &[[String; 3]]) -> Result<HashMap<String, (i64, i64)>, ReferenceError> {
    let degrees = |text: &str, most: i64| {
        let cell = ColumnType::Degrees.cell(text).ok().filter(|degrees| degrees.abs() <= most * 1_000_000);
        cell.ok_or_else(|| wrong("country_places", &format!("{text:?} is none of {most} degrees")))
    };
    let place = |[country, latitude, longitude]: &[String; 3]| -> Result<_, ReferenceError> {
        Ok((country.clone(), (degrees(latitude, 90)?, degrees(longitude, 180)?)))
    };
    rows.iter().map(place).collect()
}

/// A published rate as a whole number.
fn scaled(rate: &str) -> Option<i128> {
    let (whole, fraction) = rate.split_once('.').unwrap_or((rate, ""));
    let places = PUBLISHED_PLACES as usize;
    let fits = fraction.len() <= places && fraction.bytes().all(|digit| digit.is_ascii_digit());
    if fits { format!("{whole}{fraction:0<places$}").parse().ok() } else { None }
}

/// Some columns of a seed, null as empty text.
fn rows<'a, const N: usize>(
    name: &'static str,
    seed: &impl Fn(&str) -> Option<&'a RecordBatch>,
    columns: [&str; N],
) -> Result<Vec<[String; N]>, ReferenceError> {
    let table = seed(name).ok_or_else(|| wrong(name, "it is not there"))?;
    let mut found = Vec::new();
    for column in columns {
        let texts = table.column_by_name(column).and_then(|texts| texts.as_string_opt::<i32>());
        found.push(texts.ok_or_else(|| wrong(name, &format!("it has no column {column}")))?);
    }
    let text = |column: usize, row: usize| {
        if found[column].is_null(row) { String::new() } else { found[column].value(row).to_owned() }
    };
    Ok((0..table.num_rows()).map(|row| std::array::from_fn(|column| text(column, row))).collect())
}

fn wrong(seed: &str, problem: &str) -> ReferenceError {
    ReferenceError { seed: seed.to_owned(), problem: problem.to_owned() }
}
