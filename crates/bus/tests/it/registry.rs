//! The built-in registry over HTTP, through restarts and concurrency.

use crate::{Registry, bus_at};
use affluent_bus::registry::RegistryError;
use affluent_model::Reason;
use affluent_testkit::broker::Broker;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value as Json, json};

fn record(fields: &Json) -> String {
    json!({"type": "record", "name": "R", "fields": fields}).to_string()
}

async fn call(registry: &Registry, method: Method, path: &str, body: Option<Json>) -> (u16, Json) {
    let mut request = reqwest::Client::new().request(method, format!("{}{path}", registry.url()));
    if let Some(body) = body {
        request = request.body(body.to_string());
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_survives_a_restart() {
    // `_schemas` is one topic: a broker of its own.
    let broker = Broker::start().unwrap();
    let bus = bus_at(broker.bootstrap_servers());
    let registry = Registry::start(&bus).await;
    let client = registry.client();
    let (one, two) = (record(&json!([])), record(&json!([{"name": "a", "type": "int", "default": 1}])));
    assert_eq!(client.register("s", &one).await.unwrap(), 1);
    assert_eq!(client.register("s", &two).await.unwrap(), 2);
    assert_eq!(client.register("t", &two).await.unwrap(), 2);
    client.set_compatibility("t", "NONE").await.unwrap();
    registry.stop().await;

    let registry = Registry::start(&bus).await;
    let client = registry.client();
    assert_eq!(client.register("s", &two).await.unwrap(), 2);
    assert_eq!(*client.schema(1).await.unwrap(), *one);
    assert_eq!(client.register("u", &record(&json!([{"name": "b", "type": "int"}]))).await.unwrap(), 3);
    assert_eq!(client.subjects().await.unwrap(), ["s", "t", "u"]);
    assert_eq!(call(&registry, Method::GET, "/subjects/s/versions", None).await, (200, json!([1, 2])));
    assert_eq!(
        call(&registry, Method::GET, "/config/t", None).await,
        (200, json!({"compatibilityLevel": "NONE"}))
    );
    assert!(matches!(client.schema(99).await, Err(RegistryError::NotFound(_))));

    // A broker that goes and comes back costs tries, not the registry.
    broker.stop().unwrap();
    assert_eq!(*client.schema(2).await.unwrap(), *two);
    broker.start_again().unwrap();
    assert_eq!(client.register("v", &record(&json!([{"name": "c", "type": "int"}]))).await.unwrap(), 4);
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_registrations_agree() {
    let broker = Broker::start().unwrap();
    let registry = Registry::start(&bus_at(broker.bootstrap_servers())).await;
    let schemas: Vec<String> =
        (0..8).map(|n| record(&json!([{"name": format!("f{n}"), "type": "int", "default": 0}]))).collect();
    let calls = (0..64).map(|n| {
        // Clients of their own, so that none answers from its cache.
        let (client, schema) = (registry.client(), schemas[n % 8].clone());
        async move { (n % 8, client.register("s", &schema).await.unwrap()) }
    });
    let mut ids = join_all(calls).await;
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 8, "one id a schema: {ids:?}");
    let mut numbers: Vec<u32> = ids.iter().map(|(_, id)| *id).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_with_the_reason() {
    let broker = Broker::start().unwrap();
    let registry = Registry::start(&bus_at(broker.bootstrap_servers())).await;
    let client = registry.client();
    let amount = |scale: u32| {
        let decimal = json!({"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": scale});
        record(&json!([{"name": "amount", "type": decimal}]))
    };
    client.register("s", &amount(2)).await.unwrap();
    let error = client.register("s", &amount(4)).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::IncompatibleSchema));
    assert!(error.to_string().contains("field amount: decimal of scale 2 read as scale 4"), "{error}");

    let body = Some(json!({"schema": amount(4)}));
    let check = "/compatibility/subjects/s/versions/latest?verbose=true";
    let (status, answer) = call(&registry, Method::POST, check, body.clone()).await;
    assert_eq!((status, &answer["is_compatible"]), (200, &json!(false)));
    assert_eq!(answer["messages"].as_array().unwrap().len(), 1);

    for (method, path, body, status, code) in [
        (Method::GET, "/subjects/none/versions", None, 404, 40401),
        (Method::GET, "/subjects/s/versions/9", None, 404, 40402),
        (Method::GET, "/subjects/s/versions/x", None, 422, 42202),
        (Method::GET, "/schemas/ids/9", None, 404, 40403),
        (Method::GET, "/config/s", None, 404, 40408),
        (Method::POST, "/subjects/s", body.clone(), 404, 40403),
        (Method::POST, "/subjects/s/versions", Some(json!({"schema": "{"})), 422, 42201),
        (Method::POST, "/subjects/s/versions", Some(json!({"schema": "{}", "schemaType": "JSON"})), 409, 409),
        (
            Method::POST,
            "/subjects/s/versions",
            Some(json!({"schema": "message", "schemaType": "PROTOBUF"})),
            422,
            42201,
        ),
        (Method::POST, "/subjects/s/versions", Some(json!({"schema": "x", "schemaType": "XML"})), 422, 42201),
        (Method::DELETE, "/subjects/none", None, 404, 40401),
        (Method::DELETE, "/subjects/s?permanent=true", None, 404, 40405),
        (Method::DELETE, "/subjects/s/versions/9", None, 404, 40402),
        (Method::DELETE, "/subjects/s/versions/1?permanent=true", None, 404, 40407),
        (Method::DELETE, "/config/s", None, 404, 40401),
        (Method::POST, "/compatibility/subjects/s/versions/9", body.clone(), 404, 40402),
        (Method::POST, "/subjects/s/versions", body.clone(), 409, 409),
        (Method::PUT, "/config/s", Some(json!({"compatibility": "SIDEWARD"})), 422, 42203),
        (Method::GET, "/nowhere", None, 404, 404),
    ] {
        let (found, answer) = call(&registry, method, path, body).await;
        assert_eq!((found, &answer["error_code"]), (status, &json!(code)), "{path} {answer}");
    }

    let allowed = call(&registry, Method::PUT, "/config/s", Some(json!({"compatibility": "none"}))).await;
    assert_eq!(allowed, (200, json!({"compatibility": "NONE"})));
    assert_eq!(client.register("s", &amount(4)).await.unwrap(), 2);
    assert_eq!(
        call(&registry, Method::GET, "/subjects/s/versions/latest", None).await.1["version"],
        json!(2)
    );
    assert_eq!(
        call(&registry, Method::GET, "/config", None).await.1,
        json!({"compatibilityLevel": "BACKWARD"})
    );
    assert_eq!(call(&registry, Method::GET, "/mode", None).await.1, json!({"mode": "READWRITE"}));
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_is_confluents_and_survives_a_restart() {
    let broker = Broker::start().unwrap();
    let bus = bus_at(broker.bootstrap_servers());
    let mut registry = Registry::start(&bus).await;
    let (one, two) = (record(&json!([])), record(&json!([{"name": "a", "type": "int", "default": 1}])));
    for (subject, schema) in [("s", &one), ("s", &two), ("t", &one)] {
        registry.client().register(subject, schema).await.unwrap();
    }
    let level = Some(json!({"compatibility": "NONE"}));
    call(&registry, Method::PUT, "/config/s", level).await;
    // Each answer is the same again after a restart.
    for (method, path, status, expected) in [
        (Method::DELETE, "/subjects/s/versions/1", 200, json!(1)),
        (Method::GET, "/subjects/s/versions", 200, json!([2])),
        (Method::GET, "/subjects/s/versions?deleted=true", 200, json!([1, 2])),
        (Method::GET, "/schemas/ids/1", 200, json!({"schema": one})),
        (Method::GET, "/schemas/ids/1/versions", 200, json!([{"subject": "t", "version": 1}])),
        (Method::GET, "/schemas/ids/1/subjects?deleted=true", 200, json!(["s", "t"])),
        (Method::DELETE, "/subjects/s", 200, json!([2])),
        (Method::GET, "/subjects", 200, json!(["t"])),
        (Method::GET, "/subjects?deleted=true", 200, json!(["s", "t"])),
        (Method::GET, "/subjects?deletedOnly=true", 200, json!(["s"])),
        (Method::GET, "/config/s?defaultToGlobal=true", 200, json!({"compatibilityLevel": "BACKWARD"})),
        (Method::DELETE, "/subjects/s/versions/1?permanent=true", 200, json!(1)),
        (Method::DELETE, "/subjects/s?permanent=true", 200, json!([2])),
        (Method::GET, "/subjects?deleted=true", 200, json!(["t"])),
    ] {
        let (found, answer) = call(&registry, method.clone(), path, None).await;
        assert_eq!((found, &answer), (status, &expected), "{method} {path}");
        if method == Method::DELETE {
            registry.stop().await;
            registry = Registry::start(&bus).await;
        }
    }
    assert_eq!(call(&registry, Method::GET, "/schemas/ids/2", None).await.1["error_code"], json!(40403));
    // An id is never given twice, also after its schema was deleted for good.
    let other = record(&json!([{"name": "b", "type": "string"}]));
    assert_eq!(registry.client().register("s", &other).await.unwrap(), 3);
    assert_eq!(call(&registry, Method::GET, "/subjects/s/versions", None).await.1, json!([1]));
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_types_are_served_with_references() {
    let broker = Broker::start().unwrap();
    let bus = bus_at(broker.bootstrap_servers());
    let registry = Registry::start(&bus).await;
    let money = "syntax = \"proto3\"; package shop; message Money { int64 minor = 1; }";
    let order =
        "syntax = \"proto3\"; package shop; import \"money.proto\"; message Order { Money total = 1; }";
    let register = async |subject: &str, body: Json| {
        call(&registry, Method::POST, &format!("/subjects/{subject}/versions"), Some(body)).await
    };
    let body = json!({"schema": money, "schemaType": "PROTOBUF"});
    assert_eq!(register("money", body).await, (200, json!({"id": 1})));
    let reference = json!([{"name": "money.proto", "subject": "money", "version": 1}]);
    let body = json!({"schema": order, "schemaType": "PROTOBUF", "references": reference});
    assert_eq!(register("order", body.clone()).await, (200, json!({"id": 2})));
    let (status, found) = call(&registry, Method::POST, "/subjects/order", Some(body)).await;
    assert_eq!((status, &found["version"], &found["references"]), (200, &json!(1), &reference));
    assert_eq!(
        call(&registry, Method::GET, "/subjects/money/versions/1/referencedby", None).await,
        (200, json!([2]))
    );
    let (status, refused) = call(&registry, Method::DELETE, "/subjects/money", None).await;
    assert_eq!((status, &refused["error_code"]), (422, &json!(42206)));
    let (_, compiled) = call(&registry, Method::GET, "/schemas/ids/2?format=serialized", None).await;
    let again = json!({"schema": compiled["schema"], "schemaType": "PROTOBUF", "references": reference});
    assert_eq!(register("order", again).await, (200, json!({"id": 2})), "compiled it is the same schema");
    let missing = json!([{"name": "money.proto", "subject": "nothing", "version": 1}]);
    let body = json!({"schema": order, "schemaType": "PROTOBUF", "references": missing});
    assert_eq!(register("order", body).await.1["error_code"], json!(42201));

    let address = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let body = json!({"schema": address.to_string(), "schemaType": "JSON"});
    assert_eq!(register("address", body).await, (200, json!({"id": 3})));
    let person = json!({"type": "object", "properties": {"home": {"$ref": "address.json"}}}).to_string();
    let reference = json!([{"name": "address.json", "subject": "address", "version": 1}]);
    let body = json!({"schema": person, "schemaType": "JSON", "references": reference});
    assert_eq!(register("person", body.clone()).await, (200, json!({"id": 4})));
    let (one, other) = (r#"{"type":"object","title":"t"}"#, r#"{"title":"t","type":"object"}"#);
    for (schema, normalize, id) in [(one, true, 5), (other, true, 5), (one, false, 6), (other, false, 5)] {
        let body = json!({"schema": schema, "schemaType": "JSON"});
        let path = format!("normal/versions?normalize={normalize}");
        let (_, answer) = call(&registry, Method::POST, &format!("/subjects/{path}"), Some(body)).await;
        assert_eq!(answer, json!({"id": id}), "{schema} {normalize}");
    }
    let (_, types) = call(&registry, Method::GET, "/schemas/types", None).await;
    assert_eq!(types, json!(["JSON", "PROTOBUF", "AVRO"]));
    registry.stop().await;
    // All of it is read again, references included.
    let registry = Registry::start(&bus).await;
    let (_, answer) = call(&registry, Method::POST, "/subjects/person/versions", Some(body)).await;
    assert_eq!(answer, json!({"id": 4}));
    registry.stop().await;
}

#[tokio::test]
async fn a_registry_that_is_away_is_a_passing_fault() {
    let options = affluent_bus::registry::RegistryOptions {
        url: Some("http://127.0.0.1:1".to_owned()),
        ..Default::default()
    };
    let client = affluent_bus::registry::RegistryClient::new(options).unwrap();
    let error = client.schema(1).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable(_)), "{error}");
    assert_eq!(error.reason(), None);
}
