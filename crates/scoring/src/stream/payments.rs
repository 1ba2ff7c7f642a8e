//! Payments as rows: which of their fields are read, what is known of one, and what its features are called.
//!
//! The stream reads them from the topic, the HTTP interface from requests: both make cells of the same fields, and facts and features of the cells.

use crate::{Facts, Row};
use affluent_documents::{DocumentError, DocumentStore};
use affluent_feature_store::event::{Cell, Mapped, Mapping, References};
use affluent_feature_store::online;
use affluent_feature_store::stream::{LiveState, Streamed};
use affluent_features::{Engine, Options, Plan};
use affluent_learning::dataset::FeatureVersion;
use std::collections::HashMap;
use std::sync::Arc;

/// The source of payments, in the definitions of features.
pub const SOURCE: &str = "transactions";

/// What is read of a payment: columns of its table.
const FIELDS: [&str; 12] = [
    "created_at",
    "customer_id",
    "merchant_id",
    "terminal_id",
    "device_id",
    "card_token",
    "card_bin",
    "ip",
    "amount",
    "currency",
    "payment_method",
    "status",
];

/// How payments are read. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Payments {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    mapping: Mapping,
    plan: Arc<Plan>,
    references: Arc<References>,
    topic: Option<String>,
    /// Where each of [`FIELDS`] is in a row.
    fields: HashMap<&'static str, usize>,
    names: Arc<Vec<FeatureVersion>>,
    /// Where each feature is in a row of them.
    places: HashMap<String, usize>,
    /// Entities of a payment, in the order of its keys.
    entities: Vec<String>,
}

impl Payments {
    /// How payments are read for these features; none where no feature is of payments.
    #[must_use]
    pub fn new(streamed: &Streamed) -> Option<Self> {
        let Streamed { definitions, plan, references } = streamed;
        let mapping = Mapping::new(definitions, plan, SOURCE, references)?.reading(&FIELDS);
        let place = |name: &'static str| {
            mapping.fields().iter().position(|field| field == name).map(|place| (name, place))
        };
        let fields = FIELDS.into_iter().filter_map(place).collect();
        let features = LiveState::new(streamed).features(mapping.source());
        let names = features.iter().map(|(name, version)| {
            let (name, version) = (name.clone(), *version);
            FeatureVersion { name, version }
        });
        let places = features.iter().enumerate().map(|(place, (name, _))| (name.clone(), place)).collect();
        let source = definitions.sources.get(SOURCE)?;
        let shared = Shared {
            plan: Arc::clone(plan),
            references: Arc::clone(references),
            topic: source.topic.clone(),
            fields,
            names: Arc::new(names.collect()),
            places,
            entities: source.entities.iter().map(|(entity, _)| entity.clone()).collect(),
            mapping,
        };
        Some(Payments { shared: Arc::new(shared) })
    }

    /// How a payment becomes an event. Its fields are those that a payment is given as.
    #[must_use]
    pub fn mapping(&self) -> &Mapping {
        &self.shared.mapping
    }

    /// The topic of their table.
    #[must_use]
    pub fn topic(&self) -> Option<&str> {
        self.shared.topic.as_deref()
    }

    /// The features of a payment, in the order of its row.
    #[must_use]
    pub fn names(&self) -> &Arc<Vec<FeatureVersion>> {
        &self.shared.names
    }

    /// What is known of a payment, whose cells are in the order of the mapping's fields. What does not fit is left out: the event says why.
    #[must_use]
    pub fn facts(&self, cells: &[Cell<'_>]) -> Facts {
        let given = Given { payments: &self.shared, cells };
        let references = &self.shared.references;
        let created = given.cell("created_at").and_then(|cell| cell.time().ok()?).unwrap_or_default();
        let mut facts = Facts::new(self.shared.mapping.id_text(cells).unwrap_or_default(), created);
        for name in ["customer_id", "merchant_id", "terminal_id", "card_bin"] {
            facts.text(name, given.text(name));
        }
        for name in ["device_id", "card_token", "payment_method"] {
            facts.text(name, given.lower(name));
        }
        let status = given.lower("status");
        let known = status.as_deref().and_then(|status| references.status(SOURCE, status));
        facts.text("status", known.map(str::to_owned).or(status));
        let address = given.lower("ip").and_then(|ip| ip.split('/').next().map(str::to_owned));
        let bin = given.text("card_bin");
        let country = |address, bin: Option<&str>| references.country(address, bin).to_owned();
        facts.text("ip_country", address.as_deref().map(|address| country(Some(address), None)));
        facts.text("card_country", bin.as_deref().map(|bin| country(None, Some(bin))));
        facts.text("card_network", bin.as_deref().map(|bin| references.network(Some(bin)).to_owned()));
        facts.text("ip", address);
        if let (Some(amount), Some(currency)) = (given.text("amount"), given.text("currency")) {
            let currency = currency.to_uppercase();
            let exact = given.decimal("amount");
            let reporting = exact.and_then(|exact| references.reporting(exact, &currency, created).ok()?);
            facts.integer("amount_reporting", reporting);
            if let Ok(amount) = amount.parse() {
                facts.money(amount, &currency);
            }
        }
        facts
    }

    /// The features that the payment would have if nothing had ever happened before it.
    fn first(&self, mapped: &Mapped) -> Vec<f64> {
        let shared = &self.shared;
        let mut values = vec![f64::NAN; shared.names.len()];
        let mut engine = Engine::new(Arc::clone(&shared.plan), Options::default());
        if engine.preview(&mapped.event(shared.mapping.source()), &mut values).is_err() {
            values.fill(f64::NAN);
        }
        values
    }
}

/// What the online store knows of a payment's past.
#[derive(Debug, Clone, PartialEq)]
pub struct LastKnown {
    pub row: Row,
    /// By entity: which instant its newest values are of, in microseconds since the epoch; none where there are no values.
    pub newest: Vec<(String, Option<i64>)>,
}

/// The features of a payment as far as the online store knows them: of its keys as of their newest events, without this one. Features of the
/// payment itself are its own.
///
/// # Errors
/// As the store.
pub async fn last_known(
    store: &dyn DocumentStore,
    payments: &Payments,
    cells: &[Cell<'_>],
    mapped: &Mapped,
) -> Result<LastKnown, DocumentError> {
    let (shared, mut values) = (&payments.shared, payments.first(mapped));
    let mut newest = Vec::with_capacity(shared.entities.len());
    for (nth, entity) in shared.entities.iter().enumerate() {
        let Some(key) = shared.mapping.key_text(cells, nth) else { continue };
        let mut of_entity = None;
        for served in online::read(store, entity, &key).await? {
            let place = shared.places.get(&served.name).copied();
            let Some(place) = place.filter(|&place| shared.names[place].version == served.version) else {
                continue;
            };
            values[place] = served.value.unwrap_or(f64::NAN);
            of_entity = of_entity.max(Some(served.as_of));
        }
        newest.push((entity.clone(), of_entity));
    }
    let as_of = newest.iter().filter_map(|(_, as_of)| *as_of).max().unwrap_or(mapped.time);
    let row = Row { names: Arc::clone(&shared.names), values, is_exact: false, as_of };
    Ok(LastKnown { row, newest })
}

/// The cells of one payment, by name.
struct Given<'a> {
    payments: &'a Shared,
    cells: &'a [Cell<'a>],
}

impl Given<'_> {
    fn cell(&self, name: &str) -> Option<&Cell<'_>> {
        self.cells.get(*self.payments.fields.get(name)?)
    }

    /// Trimmed; none where nothing is left.
    fn text(&self, name: &str) -> Option<String> {
        let text = self.cell(name)?.text().ok()??;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn lower(&self, name: &str) -> Option<String> {
        self.text(name).map(|text| text.to_lowercase())
    }

    /// An exact number: unscaled, decimal places.
    fn decimal(&self, name: &str) -> Option<(i128, u32)> {
        match self.cell(name)? {
            Cell::Int(value) => Some(((*value).into(), 0)),
            Cell::Decimal { unscaled, scale } => Some((*unscaled, *scale)),
            Cell::Null | Cell::Bool(_) | Cell::Float(_) | Cell::Text(_) | Cell::Time(_) | Cell::Other(_) => {
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FactValue;
    use affluent_documents::{EmbeddedOptions, EmbeddedStore};
    use affluent_feature_store::event::Fit;
    use affluent_features::Definitions;
    use affluent_features::definition::Freshness;
    use std::borrow::Cow;

    fn payments() -> Payments {
        let streamed = Streamed::new(&Definitions::load(None).unwrap(), Arc::default()).unwrap();
        Payments::new(&streamed).unwrap()
    }

    fn cells(payments: &Payments) -> Vec<Cell<'static>> {
        let text = |text: &'static str| Cell::Text(Cow::Borrowed(text));
        let cell = |name: &String| match name.as_str() {
            "id" => text(" A-1 "),
            "created_at" | "_commit_ts" => Cell::Time(1_793_620_800_000_000),
            "customer_id" => Cell::Int(7),
            "terminal_id" => text(" T 1 "),
            "amount" => Cell::Decimal { unscaled: 12_340, scale: 3 },
            "currency" => text("eur"),
            "ip" => text("203.0.113.9/32"),
            "payment_method" => text("Card"),
            _ => Cell::Null,
        };
        payments.mapping().fields().iter().map(cell).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_store_knows_is_told_with_its_instants() {
        let home = tempfile::tempdir().unwrap();
        let options = EmbeddedOptions { path: Some(home.path().join("d")), ..EmbeddedOptions::default() };
        let store = EmbeddedStore::open(options, 3_600).await.unwrap();
        store.ensure(&online::collection(90)).await.unwrap();
        let payments = payments();
        let (cells, mut mapped) = (cells(&payments), Mapped::default());
        assert_eq!(payments.mapping().event(&cells, &mut mapped), Ok(Fit::Event));
        let place = payments.names().iter().position(|f| f.name == "customer_payments_1h").unwrap();
        let features = [("customer_payments_1h".to_owned(), payments.names()[place].version)];
        let as_of = 1_793_620_700_000_000;
        let vector = online::Vector {
            entity: "customer",
            key: "7",
            as_of,
            is_exact: true,
            features: &features,
            values: &[4.0],
        };
        store.apply(online::COLLECTION, vec![vector.write(Freshness::Stream, 1)]).await.unwrap();
        let LastKnown { row, newest } = last_known(&store, &payments, &cells, &mapped).await.unwrap();
        assert_eq!((row.values[place], row.as_of), (4.0, as_of));
        let of = |entity: &str| newest.iter().find(|(name, _)| name == entity).map(|(_, newest)| *newest);
        assert_eq!(of("customer"), Some(Some(as_of)));
        assert_eq!(of("terminal"), Some(None), "it is known of nothing");
        assert_eq!(of("device"), None, "the payment has none");
    }

    #[test]
    fn what_a_payment_says_is_known_of_it() {
        let payments = payments();
        let cells = cells(&payments);
        let facts = payments.facts(&cells);
        assert_eq!((facts.transaction_id.as_str(), facts.occurred_at), ("a-1", 1_793_620_800_000_000));
        let of = |name: &str| facts.fields.get(name).cloned();
        let text = |text: &str| Some(FactValue::Text(text.to_owned()));
        assert_eq!((of("customer_id"), of("terminal_id")), (text("7"), text("T 1")));
        assert_eq!((of("payment_method"), of("ip")), (text("card"), text("203.0.113.9")));
        assert_eq!((of("currency"), of("amount_minor")), (text("EUR"), Some(FactValue::Integer(1_234))));
        assert_eq!(of("merchant_id"), None);
        let mut mapped = Mapped::default();
        assert_eq!(payments.mapping().event(&cells, &mut mapped), Ok(Fit::Event));
        let first = payments.first(&mapped);
        let place = payments.names().iter().position(|f| f.name == "customer_payments_1h").unwrap();
        assert_eq!(first[place], 1.0, "the payment itself");
    }
}
