//! PostgreSQL's types and what they are to the platform.

use super::CdcError;
use affluent_model::ColumnType;
use std::collections::HashMap;
use tokio_postgres::Client;

/// What `pg_type` says of a type.
#[derive(Debug, Clone, Default)]
pub(crate) struct PgType {
    /// `typtype`: `b`ase, `c`omposite, `d`omain, `e`num, `r`ange, …
    pub(crate) kind: char,
    /// `typcategory`: `A` for arrays.
    pub(crate) category: char,
    pub(crate) base: u32,
    pub(crate) base_modifier: i32,
    pub(crate) element: u32,
    pub(crate) delimiter: char,
}

/// Every type of the database.
#[derive(Debug, Default)]
pub(crate) struct TypeCatalog(HashMap<u32, PgType>);

/// A domain over a domain over …: no sane schema is deeper.
const MAX_DEPTH: usize = 32;

impl TypeCatalog {
    /// Reads `pg_type`.
    pub(crate) async fn load(client: &Client) -> Result<Self, CdcError> {
        let sql = "SELECT oid, typtype::text, typcategory::text, typbasetype, typtypmod, typelem, typdelim::text \
                   FROM pg_catalog.pg_type";
        let rows = client.query(sql, &[]).await.map_err(|e| CdcError::sql("read the types", &e))?;
        let character = |text: String| text.chars().next().unwrap_or_default();
        let entry = |row: tokio_postgres::Row| {
            let pg_type = PgType {
                kind: character(row.get(1)),
                category: character(row.get(2)),
                base: row.get(3),
                base_modifier: row.get(4),
                element: row.get(5),
                delimiter: character(row.get(6)),
            };
            (row.get::<_, u32>(0), pg_type)
        };
        Ok(TypeCatalog(rows.into_iter().map(entry).collect()))
    }

    /// Whether the type was known when the catalogue was read.
    pub(crate) fn knows(&self, oid: u32) -> bool {
        builtin(oid, -1).is_some() || self.0.contains_key(&oid)
    }

    /// What columns of the type hold. Types without a counterpart travel as text.
    pub(crate) fn resolve(&self, oid: u32, modifier: i32) -> ColumnType {
        self.resolve_at(oid, modifier, 0)
    }

    fn resolve_at(&self, oid: u32, modifier: i32, depth: usize) -> ColumnType {
        if let Some(column_type) = builtin(oid, modifier) {
            return column_type;
        }
        let Some(found) = self.0.get(&oid).filter(|_| depth < MAX_DEPTH) else { return ColumnType::Text };
        match found.kind {
            'd' => {
                let modifier = if modifier == -1 { found.base_modifier } else { modifier };
                self.resolve_at(found.base, modifier, depth + 1)
            }
            // `box` alone separates its elements by semicolons; int2vector and oidvector are no literals.
            'b' if found.category == 'A' && found.element != 0 && !matches!(oid, 22 | 30) => {
                let delimiter = self.0.get(&found.element).map_or(',', |element| element.delimiter);
                if delimiter == ',' {
                    ColumnType::Array(Box::new(self.resolve_at(found.element, modifier, depth + 1)))
                } else {
                    ColumnType::Text
                }
            }
            _ => ColumnType::Text,
        }
    }
}

/// The types whose OIDs are fixed. Source: `pg_type.dat`.
fn builtin(oid: u32, modifier: i32) -> Option<ColumnType> {
    Some(match oid {
        16 => ColumnType::Bool,
        17 => ColumnType::Bytes,
        21 => ColumnType::Int16,
        23 => ColumnType::Int32,
        // `oid` is unsigned and 32 bits wide.
        20 | 26 => ColumnType::Int64,
        700 => ColumnType::Float32,
        701 => ColumnType::Float64,
        18 | 19 | 25 | 1042 | 1043 => ColumnType::Text,
        114 | 3802 => ColumnType::Json,
        1082 => ColumnType::Date,
        1083 => ColumnType::Time,
        1114 => ColumnType::Timestamp,
        1184 => ColumnType::TimestampTz,
        1700 => numeric(modifier),
        2950 => ColumnType::Uuid,
        _ => return None,
    })
}

/// The type modifier of numeric: precision in the upper half, scale in 11 signed bits, plus 4.
fn numeric(modifier: i32) -> ColumnType {
    if modifier < 4 {
        return ColumnType::Numeric;
    }
    let packed = modifier - 4;
    let precision = (packed >> 16).cast_unsigned() & 0xFFFF;
    let scale = ((packed & 0x7FF) ^ 1024) - 1024;
    match u32::try_from(scale) {
        Ok(scale) if scale <= precision => ColumnType::Decimal { precision, scale },
        _ => ColumnType::Numeric,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_resolve_through_domains_and_arrays() {
        let base = |category, element, delimiter| PgType {
            kind: 'b',
            category,
            element,
            delimiter,
            ..PgType::default()
        };
        let catalog = TypeCatalog(HashMap::from([
            (600, base('G', 0, ',')),
            (603, base('G', 0, ';')),
            (1020, base('A', 603, ',')),
            (1231, base('A', 1700, ',')),
            (9000, PgType { kind: 'd', base: 1700, base_modifier: (10 << 16 | 2) + 4, ..PgType::default() }),
            (9001, PgType { kind: 'e', delimiter: ',', ..PgType::default() }),
            (9002, base('A', 9001, ',')),
            (9003, PgType { kind: 'd', base: 9000, base_modifier: -1, ..PgType::default() }),
            (9004, PgType { kind: 'd', base: 9004, base_modifier: -1, ..PgType::default() }),
        ]));
        let array = |t| ColumnType::Array(Box::new(t));
        let decimal = |precision, scale| ColumnType::Decimal { precision, scale };
        for (oid, modifier, expected) in [
            (1700, -1, ColumnType::Numeric),
            (1700, (18 << 16 | 4) + 4, decimal(18, 4)),
            (1700, (5 << 16 | 0x7FE) + 4, ColumnType::Numeric),
            (1700, (2 << 16 | 5) + 4, ColumnType::Numeric),
            (1231, (18 << 16 | 4) + 4, array(decimal(18, 4))),
            (600, -1, ColumnType::Text),
            (1020, -1, ColumnType::Text),
            (9000, -1, decimal(10, 2)),
            (9002, -1, array(ColumnType::Text)),
            (9003, -1, decimal(10, 2)),
            (9004, -1, ColumnType::Text),
            (424_242, -1, ColumnType::Text),
        ] {
            assert_eq!(catalog.resolve(oid, modifier), expected, "{oid}");
        }
    }
}
