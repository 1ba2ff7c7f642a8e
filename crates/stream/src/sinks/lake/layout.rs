//! Which columns a raw table has, and where the columns of each version of its source go.

use super::rows::fixed_columns;
use affluent_lake::widened;
use affluent_model::{Column, TableSchema};
use std::sync::Arc;

/// Versions of a source table whose places are remembered.
const VERSIONS_KNOWN: usize = 64;

/// What a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TableKind {
    /// Change events, one row each.
    Changes,
    /// Clicks, one row each.
    Clicks,
    /// Log lines, one row each.
    Logs,
    /// Any other records, as text.
    Records,
    /// Dead letters.
    Quarantine,
}

impl TableKind {
    /// The columns by which the rows of a file are sorted: what its queries name first.
    pub(super) fn sort_by(self) -> &'static [&'static str] {
        match self {
            TableKind::Logs => &["service", "occurred_at"],
            TableKind::Changes | TableKind::Clicks | TableKind::Records | TableKind::Quarantine => &[],
        }
    }
}

/// Where each column of a source goes, or why it cannot.
pub(super) type Places = Arc<[Result<usize, String>]>;

/// The columns of one table: the fixed ones of its kind, then the source's in order of appearance.
/// Columns are added and widened, never moved or dropped, so rows made earlier stay valid (they
/// may be shorter than the newest).
#[derive(Debug)]
pub(super) struct Layout {
    kind: TableKind,
    columns: Vec<Column>,
    fixed: usize,
    versions: Vec<(Arc<TableSchema>, Places)>,
}

impl Layout {
    /// A layout that goes on from the columns that the table has. They decide the kind where they
    /// can; `kind` is for a table that has none of its own yet.
    pub(super) fn new(kind: TableKind, stored: &[Column]) -> Self {
        let has = |name: &str| stored.iter().any(|column| column.name == name);
        let kind = match kind {
            TableKind::Quarantine | TableKind::Clicks | TableKind::Logs => kind,
            _ if has("_op") => TableKind::Changes,
            _ if has("value") && has("headers") => TableKind::Records,
            kind => kind,
        };
        let mut columns = fixed_columns(kind);
        let fixed = columns.len();
        let missing = |c: &&Column| !columns.iter().any(|known| known.name == c.name);
        let stored: Vec<Column> = stored.iter().filter(missing).cloned().collect();
        columns.extend(stored);
        Layout { kind, columns, fixed, versions: Vec::new() }
    }

    pub(super) fn kind(&self) -> TableKind {
        self.kind
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The places of a source's columns. New columns are added, types widened.
    pub(super) fn places(&mut self, schema: &Arc<TableSchema>) -> Places {
        if let Some((_, places)) = self.versions.iter().find(|(known, _)| Arc::ptr_eq(known, schema)) {
            return Arc::clone(places);
        }
        let places: Places = schema.columns.iter().map(|column| self.place(column)).collect();
        if self.versions.len() == VERSIONS_KNOWN {
            self.versions.remove(0);
        }
        self.versions.push((Arc::clone(schema), Arc::clone(&places)));
        places
    }

    fn place(&mut self, column: &Column) -> Result<usize, String> {
        let name = self.outward(&column.name);
        let Some(index) = self.columns.iter().position(|known| known.name == name) else {
            let column_type = column.column_type.clone();
            self.columns.push(Column { name, column_type, nullable: true });
            return Ok(self.columns.len() - 1);
        };
        let known = &mut self.columns[index];
        match widened(&known.column_type, &column.column_type) {
            Some(wider) => {
                known.column_type = wider;
                Ok(index)
            }
            None => Err(format!(
                "is {:?} in the lake and cannot become {:?}",
                known.column_type, column.column_type
            )),
        }
    }

    /// The name under which a source's column is stored: its own, with `_col` behind it where a
    /// column of ours has that name (in any case).
    fn outward(&self, name: &str) -> String {
        let ours = self.columns[..self.fixed].iter().any(|column| column.name.eq_ignore_ascii_case(name));
        if ours { format!("{name}_col") } else { name.to_owned() }
    }
}
