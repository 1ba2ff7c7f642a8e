//! Topic configuration, and the broker's own as far as clients ask for it (read only).

use super::topics::{Refusal, refusal};
use super::{Caller, NODE_ID, blocking, text};
use crate::options::{BrokerOptions, Flush};
use crate::topics::{ConfigKey, KEYS, Overrides, Topic};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementalResponse;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;
use std::sync::Arc;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SOURCE_TOPIC: i8 = 1;
const SOURCE_BROKER_FILE: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;

/// Shows the configuration of topics and of the broker.
pub(super) fn describe(caller: &Caller, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let mut results = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        let wanted = resource.configuration_keys.filter(|keys| !keys.is_empty());
        let is_wanted =
            |name: &str| wanted.as_ref().is_none_or(|keys| keys.iter().any(|key| key.as_str() == name));
        let options = &caller.shared.options;
        let lines = match (resource.resource_type, caller.shared.catalog.topic(&resource.resource_name)) {
            (TOPIC, Some(topic)) => Ok(topic_lines(&topic, options, request.include_synonyms)),
            (TOPIC, None) => Err(ResponseError::UnknownTopicOrPartition),
            (BROKER, _) if is_this_broker(&resource.resource_name) => Ok(broker_lines(options)),
            _ => Err(ResponseError::InvalidRequest),
        };
        results.push(match lines {
            Ok(mut lines) => {
                lines.retain(|line| is_wanted(&line.name));
                if !request.include_documentation {
                    lines.iter_mut().for_each(|line| line.documentation = None);
                }
                result.with_configs(lines)
            }
            Err(error) => {
                result.with_error_code(error.code()).with_error_message(Some(text(error.to_string())))
            }
        });
    }
    DescribeConfigsResponse::default().with_results(results)
}

fn is_this_broker(name: &str) -> bool {
    name.is_empty() || name == NODE_ID.to_string()
}

fn topic_lines(
    topic: &Topic,
    options: &BrokerOptions,
    with_synonyms: bool,
) -> Vec<DescribeConfigsResourceResult> {
    let overrides = topic.overrides();
    let line = |key: &ConfigKey| {
        let set = overrides.get(key.name);
        let default = key.default_value(options);
        let value = set.unwrap_or(&default);
        let synonym = |value: &str, source| {
            DescribeConfigsSynonym::default()
                .with_name(text(key.name))
                .with_value(Some(text(value)))
                .with_source(source)
        };
        let mut synonyms = Vec::new();
        if with_synonyms {
            synonyms.extend(set.map(|value| synonym(value, SOURCE_TOPIC)));
            synonyms.push(synonym(&default, SOURCE_DEFAULT));
        }
        DescribeConfigsResourceResult::default()
            .with_name(text(key.name))
            .with_value(Some(text(value)))
            .with_config_source(if set.is_some() { SOURCE_TOPIC } else { SOURCE_DEFAULT })
            .with_config_type(key.type_code())
            .with_documentation(Some(text(key.documentation)))
            .with_synonyms(synonyms)
    };
    KEYS.iter().map(line).collect()
}

fn broker_lines(options: &BrokerOptions) -> Vec<DescribeConfigsResourceResult> {
    let flush = match options.flush {
        Flush::Group => "group",
        Flush::Relaxed => "relaxed",
    };
    let lines = [
        ("auto.create.topics.enable", options.auto_create_topics.to_string()),
        ("broker.id", NODE_ID.to_string()),
        ("default.replication.factor", "1".to_owned()),
        ("flush", flush.to_owned()),
        ("log.retention.bytes", options.retention_bytes.to_string()),
        ("log.retention.ms", options.retention_ms.to_string()),
        ("log.segment.bytes", options.segment_bytes.to_string()),
        ("message.max.bytes", options.max_message_bytes.to_string()),
        ("num.partitions", options.default_partitions.to_string()),
        ("socket.request.max.bytes", options.max_request_bytes.to_string()),
    ];
    let line = |(name, value): (&str, String)| {
        DescribeConfigsResourceResult::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
            .with_read_only(true)
            .with_config_source(SOURCE_BROKER_FILE)
            .with_config_type(2)
    };
    lines.into_iter().map(line).collect()
}

/// Replaces all overrides of topics by those given.
pub(super) async fn alter(caller: &Caller, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let new =
            resource.configs.into_iter().filter_map(|c| Some((c.name.to_string(), c.value?.to_string())));
        let new: Overrides = new.collect();
        let kind = resource.resource_type;
        let changed = change(caller, kind, &resource.resource_name, request.validate_only, |_| Ok(new)).await;
        let (error, words) = outcome(changed);
        responses.push(
            AlterConfigsResourceResponse::default()
                .with_error_code(error)
                .with_error_message(words)
                .with_resource_type(kind)
                .with_resource_name(resource.resource_name),
        );
    }
    AlterConfigsResponse::default().with_responses(responses)
}

/// Sets, removes, extends or shortens single overrides of topics.
pub(super) async fn alter_incrementally(
    caller: &Caller,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let kind = resource.resource_type;
        let steps = resource.configs;
        let changed =
            change(caller, kind, &resource.resource_name, request.validate_only, |mut overrides| {
                for step in &steps {
                    let value = step.value.as_ref().map(|value| value.as_str());
                    apply(&mut overrides, step.config_operation, &step.name, value, &caller.shared.options)?;
                }
                Ok(overrides)
            });
        let (error, words) = outcome(changed.await);
        responses.push(
            IncrementalResponse::default()
                .with_error_code(error)
                .with_error_message(words)
                .with_resource_type(kind)
                .with_resource_name(resource.resource_name),
        );
    }
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

fn apply(
    overrides: &mut Overrides,
    operation: i8,
    name: &str,
    value: Option<&str>,
    options: &BrokerOptions,
) -> Result<(), Refusal> {
    let key = ConfigKey::find(name).map_err(|error| refusal(&error.into()))?;
    let invalid = |words: &str| (ResponseError::InvalidConfig, Some(format!("{name}: {words}")));
    let current = || overrides.get(name).cloned().unwrap_or_else(|| key.default_value(options));
    let items = |list: &str| -> Vec<String> { list.split(',').map(|item| item.trim().to_owned()).collect() };
    let new = match (operation, value) {
        (0, Some(value)) => Some(value.to_owned()),
        (1, _) => None,
        (2 | 3, Some(_)) if key.type_code() != 7 => return Err(invalid("is not a list")),
        (2, Some(value)) => {
            let mut list = items(&current());
            list.extend(
                items(value).into_iter().filter(|item| !current().split(',').any(|c| c.trim() == item)),
            );
            Some(list.join(","))
        }
        (3, Some(value)) => {
            let gone = items(value);
            Some(
                items(&current())
                    .into_iter()
                    .filter(|item| !gone.contains(item))
                    .collect::<Vec<_>>()
                    .join(","),
            )
        }
        _ => return Err(invalid("needs a value and a known operation")),
    };
    match new {
        Some(value) => overrides.insert(name.to_owned(), value),
        None => overrides.remove(name),
    };
    Ok(())
}

async fn change(
    caller: &Caller,
    resource_type: i8,
    name: &StrBytes,
    validate_only: bool,
    decide: impl FnOnce(Overrides) -> Result<Overrides, Refusal>,
) -> Result<(), Refusal> {
    if resource_type != TOPIC {
        let words = "only the configuration of topics can be changed here; the broker's is in its file";
        return Err((ResponseError::InvalidRequest, Some(words.to_owned())));
    }
    let unknown = (ResponseError::UnknownTopicOrPartition, None);
    let topic = caller.shared.catalog.topic(name).ok_or(unknown)?;
    let new = decide(topic.overrides())?;
    let (catalog, name) = (Arc::clone(&caller.shared.catalog), name.to_string());
    match blocking(move || catalog.configure(&name, new, validate_only)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(refusal(&error)),
        Err(error) => Err((error, None)),
    }
}

fn outcome(changed: Result<(), Refusal>) -> (i16, Option<StrBytes>) {
    match changed {
        Ok(()) => (0, None),
        Err((error, words)) => (error.code(), words.map(text)),
    }
}
