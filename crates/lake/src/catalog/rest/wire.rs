//! The bodies of the requests and answers, as Iceberg's REST specification has them
//! (`rest-catalog-open-api.yaml` of Apache Iceberg 1.10).

use crate::LakeError;
use bytes::Bytes;
use iceberg::spec::{Schema, SortOrder, TableMetadata, UnboundPartitionSpec};
use iceberg::{TableCreation, TableRequirement, TableUpdate};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// A part of a list.
pub(super) trait Page: DeserializeOwned {
    type Item;

    /// The items, and what to ask for the next page with.
    fn into_parts(self) -> (Vec<Self::Item>, Option<String>);
}

/// `ListNamespacesResponse`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Namespaces {
    namespaces: Vec<Vec<String>>,
    next_page_token: Option<String>,
}

/// `ListTablesResponse`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Tables {
    identifiers: Vec<Listed>,
    next_page_token: Option<String>,
}

/// A table of a list; its namespace is the one that was asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    pub(super) name: String,
}

impl Page for Namespaces {
    type Item = Vec<String>;

    fn into_parts(self) -> (Vec<Vec<String>>, Option<String>) {
        (self.namespaces, self.next_page_token)
    }
}

impl Page for Tables {
    type Item = Listed;

    fn into_parts(self) -> (Vec<Listed>, Option<String>) {
        (self.identifiers, self.next_page_token)
    }
}

/// `LoadTableResult` and `CommitTableResponse`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Loaded {
    pub(super) metadata_location: Option<String>,
    pub(super) metadata: TableMetadata,
}

/// `CreateNamespaceRequest`.
#[derive(Debug, Serialize)]
pub(super) struct NewNamespace<'a> {
    pub(super) namespace: &'a [String],
    pub(super) properties: HashMap<String, String>,
}

/// `CreateTableRequest`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct CreateBody {
    name: String,
    location: String,
    schema: Schema,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_spec: Option<UnboundPartitionSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    write_order: Option<SortOrder>,
    stage_create: bool,
    properties: HashMap<String, String>,
}

impl CreateBody {
    pub(super) fn new(creation: TableCreation, location: String) -> Self {
        let mut properties = creation.properties;
        properties.insert("format-version".to_owned(), (creation.format_version as u8).to_string());
        CreateBody {
            name: creation.name,
            location,
            schema: creation.schema,
            // Iceberg's own server wants the number, though the specification does not.
            partition_spec: creation.partition_spec.map(|spec| spec.with_spec_id(0)),
            write_order: creation.sort_order,
            stage_create: false,
            properties,
        }
    }
}

/// `CommitTableRequest`.
#[derive(Debug, Serialize)]
pub(super) struct CommitBody<'a> {
    identifier: Identifier<'a>,
    requirements: &'a [TableRequirement],
    updates: &'a [TableUpdate],
}

#[derive(Debug, Serialize)]
struct Identifier<'a> {
    namespace: &'a [String],
    name: &'a str,
}

impl<'a> CommitBody<'a> {
    pub(super) fn new(
        namespace: &'a [String],
        name: &'a str,
        requirements: &'a [TableRequirement],
        updates: &'a [TableUpdate],
    ) -> Self {
        CommitBody { identifier: Identifier { namespace, name }, requirements, updates }
    }
}

pub(super) fn json(body: &impl Serialize) -> Result<Bytes, LakeError> {
    serde_json::to_vec(body).map(Bytes::from).map_err(|error| malformed("request to the catalog", &error))
}

pub(super) fn loaded(answer: &[u8]) -> Result<Loaded, LakeError> {
    serde_json::from_slice(answer).map_err(|error| malformed("answer of the catalog", &error))
}

fn malformed(what: &str, error: &serde_json::Error) -> LakeError {
    LakeError::Malformed { what: what.to_owned(), error: error.to_string() }
}
