//! Functions of the catalogue. Adding one is one line of the list.

use super::run::Run;
use crate::catalog::SETTINGS;
use crate::catalog::relations::{OWNER, VERSION};
use crate::catalog::value::{Kind, Scalar, Value};
use crate::error::{PgError, code};
use crate::types::name_of;
use postgres_types::Type;

/// What is written without parentheses.
pub(super) const BARE: &[&str] = &["current_schema", "current_role", "current_database"];
/// Functions over the rows of a group.
pub(super) const AGGREGATES: &[&str] = &[
    "count",
    "min",
    "max",
    "sum",
    "array_agg",
    "string_agg",
    "bool_or",
    "bool_and",
    "every",
    "json_agg",
    "jsonb_agg",
];
/// Items that a function makes at most.
const ITEMS_MAX: i64 = 100_000;

/// A function of the catalogue.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    gives: Gives,
    /// One row for each item of what it returns.
    pub(super) is_set: bool,
    /// Of a set of records.
    pub(super) fields: &'static [(&'static str, Kind)],
    /// Tables and types come as their names.
    pub(super) wants_text: bool,
    pub(super) call: fn(&Run<'_>, &[Value]) -> Result<Value, PgError>,
}

#[derive(Debug, Clone, Copy)]
enum Gives {
    Kind(Kind),
    /// The kind of the first argument.
    First,
    /// Of its items.
    Item,
}

impl Function {
    pub(super) fn gives(&self, kinds: &[Kind]) -> Kind {
        let first = kinds.first().copied().unwrap_or(Kind::TEXT);
        match self.gives {
            Gives::Kind(kind) => kind,
            Gives::First => kinds.iter().fold(Kind::UNKNOWN, |kind, of| kind.or(*of)),
            Gives::Item => first.element(),
        }
    }
}

/// The function of this name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// Whether a function is one of the catalogue's own: not one that any engine has.
pub(crate) fn is_known(name: &str) -> bool {
    find(name).is_some_and(|function| !GENERAL.contains(&function.name))
}

/// Whether a name is a function that is written without parentheses.
pub(crate) fn is_bare(name: &str) -> bool {
    BARE.contains(&name)
}

/// Whether a function may stand in the place of a table.
pub(crate) fn is_table_function(name: &str) -> bool {
    find(name).is_some_and(|function| function.is_set)
}

/// Functions that the engine has too.
const GENERAL: &[&str] = &[
    "lower",
    "upper",
    "length",
    "char_length",
    "left",
    "right",
    "replace",
    "substring",
    "substr",
    "btrim",
    "trim",
    "ltrim",
    "rtrim",
    "strpos",
    "position",
    "split_part",
    "concat",
    "concat_ws",
    "nullif",
    "greatest",
    "least",
    "now",
    "abs",
    "array_length",
    "array_to_string",
    "array_position",
    "cardinality",
    "unnest",
    "generate_series",
    "regexp_replace",
    "round",
    "md5",
    "format",
];

pub(super) fn unknown(name: &str) -> PgError {
    PgError::new(code::UNDEFINED_FUNCTION, format!("function {name}() does not exist in the catalogue"))
}

pub(super) fn aggregate_kind(name: &str, first: Kind) -> Kind {
    match name {
        "count" => Kind::INT8,
        "sum" => {
            if first == Kind::FLOAT8 {
                Kind::FLOAT8
            } else {
                Kind::INT8
            }
        }
        "array_agg" => first.array(),
        "string_agg" | "json_agg" | "jsonb_agg" => Kind::TEXT,
        "bool_or" | "bool_and" | "every" => Kind::BOOL,
        _ => first,
    }
}

const fn plain(
    name: &'static str,
    gives: Kind,
    call: fn(&Run<'_>, &[Value]) -> Result<Value, PgError>,
) -> Function {
    Function { name, gives: Gives::Kind(gives), is_set: false, fields: &[], wants_text: false, call }
}

/// A function of texts, of which tables and types are their names.
const fn text(
    name: &'static str,
    gives: Kind,
    call: fn(&Run<'_>, &[Value]) -> Result<Value, PgError>,
) -> Function {
    Function { wants_text: true, ..plain(name, gives, call) }
}

const fn like(
    name: &'static str,
    gives: Gives,
    call: fn(&Run<'_>, &[Value]) -> Result<Value, PgError>,
) -> Function {
    Function { gives, ..plain(name, Kind::TEXT, call) }
}

const fn set(
    name: &'static str,
    gives: Gives,
    fields: &'static [(&'static str, Kind)],
    call: fn(&Run<'_>, &[Value]) -> Result<Value, PgError>,
) -> Function {
    Function { gives, is_set: true, fields, ..plain(name, Kind::TEXT, call) }
}

/// What there is nothing of.
fn nothing(_: &Run<'_>, _: &[Value]) -> Result<Value, PgError> {
    Ok(Value::Null)
}

fn yes(_: &Run<'_>, _: &[Value]) -> Result<Value, PgError> {
    Ok(Value::Bool(true))
}

fn no(_: &Run<'_>, _: &[Value]) -> Result<Value, PgError> {
    Ok(Value::Bool(false))
}

fn zero(_: &Run<'_>, _: &[Value]) -> Result<Value, PgError> {
    Ok(Value::Int(0))
}

fn empty(_: &Run<'_>, _: &[Value]) -> Result<Value, PgError> {
    Ok(Value::array(Vec::new()))
}

fn user(run: &Run<'_>, _: &[Value]) -> Result<Value, PgError> {
    Ok(Value::text(&run.who.user))
}

fn database(run: &Run<'_>, _: &[Value]) -> Result<Value, PgError> {
    Ok(Value::text(&run.who.database))
}

fn version(_: &Run<'_>, _: &[Value]) -> Result<Value, PgError> {
    Ok(Value::text(VERSION))
}

fn now(_: &Run<'_>, _: &[Value]) -> Result<Value, PgError> {
    Ok(Value::Int(chrono::Utc::now().timestamp_micros()))
}

/// Reads may be allowed; nothing else is.
fn privilege(_: &Run<'_>, args: &[Value]) -> Result<Value, PgError> {
    let wanted = args.last().and_then(Value::to_text).unwrap_or_default().to_lowercase();
    let is_read = wanted
        .split(',')
        .any(|one| matches!(one.trim(), "select" | "usage" | "connect" | "execute" | "member" | "set"));
    Ok(Value::Bool(is_read))
}

fn owner(_: &Run<'_>, _: &[Value]) -> Result<Value, PgError> {
    Ok(Value::text(OWNER))
}

fn arg(args: &[Value], place: usize) -> &Value {
    args.get(place).unwrap_or(&Value::Null)
}

fn words(args: &[Value], place: usize) -> Option<String> {
    arg(args, place).to_text()
}

/// A text of a text; null of null.
fn mapped(args: &[Value], map: impl Fn(&str) -> String) -> Result<Value, PgError> {
    Ok(words(args, 0).map_or(Value::Null, |text| Value::text(map(&text))))
}

fn comment(run: &Run<'_>, oid: &Value, part: i64) -> Value {
    Value::optional(oid.integer().and_then(|oid| run.relations.comment(oid, part)))
}

fn bytes(run: &Run<'_>, args: &[Value]) -> Result<Value, PgError> {
    let class = arg(args, 0).integer().and_then(|oid| run.relations.class(oid));
    Ok(class.map_or(Value::Int(0), |class| Value::Int(i64::try_from(class.bytes).unwrap_or(i64::MAX))))
}

fn places(args: &[Value]) -> Vec<Value> {
    (1..).take(arg(args, 0).items().len()).map(Value::Int).collect()
}

fn substring(_: &Run<'_>, args: &[Value]) -> Result<Value, PgError> {
    let (Some(text), Some(from)) = (words(args, 0), arg(args, 1).integer()) else {
        // `substring(text from pattern)`: of use to nobody who looks around.
        return Ok(Value::Null);
    };
    let to = args.get(2).map_or(Some(i64::MAX), |length| Some(from.saturating_add(length.integer()?)));
    let Some(to) = to else { return Ok(Value::Null) };
    let inside = text.chars().zip(1_i64..).filter(|(_, place)| (from..to).contains(place));
    Ok(Value::text(inside.map(|(letter, _)| letter).collect::<String>()))
}

fn trimmed(args: &[Value], start: bool, end: bool) -> Result<Value, PgError> {
    let letters: Vec<char> = words(args, 1).unwrap_or_else(|| " ".to_owned()).chars().collect();
    mapped(args, |text| {
        let text = if start { text.trim_start_matches(letters.as_slice()) } else { text };
        (if end { text.trim_end_matches(letters.as_slice()) } else { text }).to_owned()
    })
}

fn quoted_ident(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    let is_plain = text.chars().all(plain) && !text.starts_with(|letter: char| letter.is_ascii_digit());
    if is_plain && !text.is_empty() { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

fn joined(run: &Run<'_>, args: &[Value]) -> Result<Value, PgError> {
    let Some(between) = words(args, 1).filter(|_| !arg(args, 0).is_null()) else { return Ok(Value::Null) };
    let missing = words(args, 2);
    let items = arg(args, 0).items();
    run.will_make(items.len(), between.len() + missing.as_ref().map_or(0, String::len))?;
    let texts = items.iter().filter_map(|item| item.to_text().or_else(|| missing.clone()));
    Ok(Value::text(texts.collect::<Vec<_>>().join(&between)))
}

fn series(_: &Run<'_>, args: &[Value]) -> Result<Value, PgError> {
    let (Some(from), Some(to)) = (arg(args, 0).integer(), arg(args, 1).integer()) else {
        return empty_array();
    };
    let step = args.get(2).and_then(Value::integer).unwrap_or(1);
    let span = to.saturating_sub(from);
    let is_away = span != 0 && (span < 0) != (step < 0);
    // What has no number is too many.
    let count =
        if step == 0 || is_away { 0 } else { span.checked_div(step).unwrap_or(i64::MAX).saturating_add(1) };
    if count > ITEMS_MAX {
        return Err(PgError::new(code::LIMIT_EXCEEDED, "a series over the catalogue is too long"));
    }
    Ok(Value::array((0..count.max(0)).map(|place| Value::Int(from + place * step)).collect()))
}

fn empty_array() -> Result<Value, PgError> {
    Ok(Value::array(Vec::new()))
}

fn setting(run: &Run<'_>, args: &[Value]) -> Result<Value, PgError> {
    let Some(name) = words(args, 0) else { return Ok(Value::Null) };
    match run.who.setting(&name) {
        Some(value) => Ok(Value::text(value)),
        None if arg(args, 1).truth() == Some(true) || name.contains('.') => Ok(Value::Null),
        None => {
            let message = format!("unrecognized configuration parameter \"{name}\"");
            Err(PgError::new(code::UNDEFINED_OBJECT, message))
        }
    }
}

fn format_type(_: &Run<'_>, args: &[Value]) -> Result<Value, PgError> {
    let Some(oid) = arg(args, 0).integer() else { return Ok(Value::Null) };
    let modifier = arg(args, 1).integer().and_then(|modifier| i32::try_from(modifier).ok()).unwrap_or(-1);
    let found = u32::try_from(oid).ok().and_then(Type::from_oid);
    Ok(Value::text(found.map_or_else(|| "-".to_owned(), |found| name_of(&found, modifier))))
}

fn size_pretty(_: &Run<'_>, args: &[Value]) -> Result<Value, PgError> {
    let Some(bytes) = arg(args, 0).integer() else { return Ok(Value::Null) };
    let (mut size, mut unit) = (bytes, "bytes");
    for larger in ["kB", "MB", "GB", "TB"] {
        if size < 10 * 1_024 {
            break;
        }
        (size, unit) = (size / 1_024, larger);
    }
    Ok(Value::text(format!("{size} {unit}")))
}

fn least(args: &[Value], wanted: std::cmp::Ordering) -> Result<Value, PgError> {
    let mut found = Value::Null;
    for value in args.iter().filter(|value| !value.is_null()) {
        if found.is_null() || value.compare(&found) == Some(wanted) {
            found = value.clone();
        }
    }
    Ok(found)
}

fn regexp_replace(run: &Run<'_>, args: &[Value]) -> Result<Value, PgError> {
    let (Some(text), Some(pattern), Some(by)) = (words(args, 0), words(args, 1), words(args, 2)) else {
        return Ok(Value::Null);
    };
    // As often as there are letters at most.
    run.will_make(text.len() + 1, by.len())?;
    let regex = super::run::regex(&pattern, words(args, 3).is_some_and(|flags| flags.contains('i')))?;
    let by = by.replace('$', "$$").replace("\\1", "${1}").replace("\\2", "${2}");
    let all = words(args, 3).is_some_and(|flags| flags.contains('g'));
    Ok(Value::text(if all { regex.replace_all(&text, &*by) } else { regex.replace(&text, &*by) }))
}

const NAMES: Kind = Kind::NAME.array();
const TEXTS: Kind = Kind::TEXT.array();
const CLASS: Kind = Kind::of(Scalar::Class);
const TYPE: Kind = Kind::of(Scalar::Type);

static FUNCTIONS: &[Function] = &[
    // Who and where.
    plain("version", Kind::TEXT, version),
    plain("current_database", Kind::NAME, database),
    plain("current_catalog", Kind::NAME, database),
    plain("current_user", Kind::NAME, user),
    plain("current_role", Kind::NAME, user),
    plain("session_user", Kind::NAME, user),
    plain("user", Kind::NAME, user),
    plain("current_schema", Kind::NAME, |run, _| {
        Ok(run.search_path().first().map_or(Value::Null, Value::text))
    }),
    plain("current_schemas", NAMES, |run, args| {
        let implied = (arg(args, 0).truth() == Some(true)).then_some("pg_catalog".to_owned());
        Ok(Value::array(implied.iter().chain(&run.search_path()).map(Value::text).collect()))
    }),
    plain("pg_backend_pid", Kind::INT4, |run, _| Ok(Value::Int(run.who.pid.into()))),
    plain("current_setting", Kind::TEXT, setting),
    plain("set_config", Kind::TEXT, |_, args| Ok(arg(args, 1).clone())),
    plain("pg_is_in_recovery", Kind::BOOL, no),
    plain("pg_postmaster_start_time", Kind::TIMESTAMPTZ, now),
    plain("pg_conf_load_time", Kind::TIMESTAMPTZ, now),
    plain("now", Kind::TIMESTAMPTZ, now),
    plain("inet_server_addr", Kind::TEXT, nothing),
    plain("inet_server_port", Kind::INT4, nothing),
    plain("inet_client_addr", Kind::TEXT, nothing),
    plain("inet_client_port", Kind::INT4, nothing),
    plain("txid_current", Kind::INT8, zero),
    plain("pg_my_temp_schema", Kind::OID, zero),
    plain("pg_is_other_temp_schema", Kind::BOOL, no),
    plain("pg_encoding_to_char", Kind::NAME, |_, _| Ok(Value::text("UTF8"))),
    plain("pg_char_to_encoding", Kind::INT4, |_, _| Ok(Value::Int(6))),
    plain("getdatabaseencoding", Kind::NAME, |_, _| Ok(Value::text("UTF8"))),
    plain("pg_client_encoding", Kind::NAME, |_, _| Ok(Value::text("UTF8"))),
    // Rights.
    plain("has_table_privilege", Kind::BOOL, privilege),
    plain("has_any_column_privilege", Kind::BOOL, privilege),
    plain("has_column_privilege", Kind::BOOL, privilege),
    plain("has_schema_privilege", Kind::BOOL, privilege),
    plain("has_database_privilege", Kind::BOOL, privilege),
    plain("has_function_privilege", Kind::BOOL, privilege),
    plain("has_tablespace_privilege", Kind::BOOL, privilege),
    plain("has_sequence_privilege", Kind::BOOL, privilege),
    plain("has_type_privilege", Kind::BOOL, privilege),
    plain("has_language_privilege", Kind::BOOL, privilege),
    plain("has_server_privilege", Kind::BOOL, privilege),
    plain("has_foreign_data_wrapper_privilege", Kind::BOOL, privilege),
    plain("pg_has_role", Kind::BOOL, privilege),
    plain("row_security_active", Kind::BOOL, no),
    plain("pg_get_userbyid", Kind::NAME, owner),
    set(
        "aclexplode",
        Gives::Kind(Kind::RECORD),
        &[
            ("grantor", Kind::OID),
            ("grantee", Kind::OID),
            ("privilege_type", Kind::TEXT),
            ("is_grantable", Kind::BOOL),
        ],
        empty,
    ),
    // What is seen without its schema.
    plain("pg_table_is_visible", Kind::BOOL, |run, args| {
        let class = arg(args, 0).integer().and_then(|oid| run.relations.class(oid));
        let path = run.search_path();
        Ok(class.map_or(Value::Null, |class| {
            Value::Bool(class.namespace == "pg_catalog" || path.contains(&class.namespace))
        }))
    }),
    plain("pg_type_is_visible", Kind::BOOL, yes),
    plain("pg_function_is_visible", Kind::BOOL, yes),
    plain("pg_operator_is_visible", Kind::BOOL, yes),
    plain("pg_opclass_is_visible", Kind::BOOL, yes),
    plain("pg_opfamily_is_visible", Kind::BOOL, yes),
    plain("pg_collation_is_visible", Kind::BOOL, yes),
    plain("pg_conversion_is_visible", Kind::BOOL, yes),
    plain("pg_statistics_obj_is_visible", Kind::BOOL, yes),
    plain("pg_ts_config_is_visible", Kind::BOOL, yes),
    plain("pg_ts_dict_is_visible", Kind::BOOL, yes),
    plain("pg_ts_parser_is_visible", Kind::BOOL, yes),
    plain("pg_ts_template_is_visible", Kind::BOOL, yes),
    // What is said of things.
    plain("format_type", Kind::TEXT, format_type),
    plain("obj_description", Kind::TEXT, |run, args| {
        let catalogue = words(args, 1).unwrap_or_else(|| "pg_class".to_owned());
        Ok(if catalogue == "pg_class" { comment(run, arg(args, 0), 0) } else { Value::Null })
    }),
    plain("col_description", Kind::TEXT, |run, args| {
        Ok(arg(args, 1).integer().map_or(Value::Null, |part| comment(run, arg(args, 0), part)))
    }),
    plain("shobj_description", Kind::TEXT, nothing),
    plain("pg_describe_object", Kind::TEXT, nothing),
    plain("pg_get_expr", Kind::TEXT, nothing),
    plain("pg_get_constraintdef", Kind::TEXT, nothing),
    plain("pg_get_indexdef", Kind::TEXT, nothing),
    plain("pg_get_viewdef", Kind::TEXT, nothing),
    plain("pg_get_ruledef", Kind::TEXT, nothing),
    plain("pg_get_triggerdef", Kind::TEXT, nothing),
    plain("pg_get_partkeydef", Kind::TEXT, nothing),
    plain("pg_get_partition_constraintdef", Kind::TEXT, nothing),
    plain("pg_get_functiondef", Kind::TEXT, nothing),
    plain("pg_get_function_arguments", Kind::TEXT, nothing),
    plain("pg_get_function_identity_arguments", Kind::TEXT, nothing),
    plain("pg_get_function_result", Kind::TEXT, nothing),
    plain("pg_get_function_sqlbody", Kind::TEXT, nothing),
    plain("pg_get_serial_sequence", Kind::TEXT, nothing),
    plain("pg_get_statisticsobjdef_columns", Kind::TEXT, nothing),
    plain("oidvectortypes", Kind::TEXT, nothing),
    plain("pg_relation_is_publishable", Kind::BOOL, no),
    plain("pg_index_column_has_property", Kind::BOOL, no),
    plain("pg_index_has_property", Kind::BOOL, no),
    plain("pg_stat_get_numscans", Kind::INT8, zero),
    plain("pg_tablespace_location", Kind::TEXT, |_, _| Ok(Value::text(""))),
    set(
        "pg_options_to_table",
        Gives::Kind(Kind::RECORD),
        &[("option_name", Kind::TEXT), ("option_value", Kind::TEXT)],
        empty,
    ),
    set(
        "pg_get_keywords",
        Gives::Kind(Kind::RECORD),
        &[("word", Kind::TEXT), ("catcode", Kind::TEXT), ("catdesc", Kind::TEXT)],
        empty,
    ),
    set(
        "pg_show_all_settings",
        Gives::Kind(Kind::RECORD),
        &[("name", Kind::TEXT), ("setting", Kind::TEXT)],
        |run, _| {
            let one = |(name, _): &(&str, &str)| {
                let value = run.who.setting(name).unwrap_or_default();
                Value::Record([("name", Value::text(name)), ("setting", Value::text(value))].into())
            };
            Ok(Value::array(SETTINGS.iter().map(one).collect()))
        },
    ),
    // Sizes.
    plain("pg_relation_size", Kind::INT8, bytes),
    plain("pg_table_size", Kind::INT8, bytes),
    plain("pg_total_relation_size", Kind::INT8, bytes),
    plain("pg_indexes_size", Kind::INT8, zero),
    plain("pg_tablespace_size", Kind::INT8, zero),
    plain("pg_database_size", Kind::INT8, |run, _| Ok(Value::Int(run.relations.bytes()))),
    plain("pg_size_pretty", Kind::TEXT, size_pretty),
    // Names.
    text("to_regclass", CLASS, |run, args| {
        let oid = words(args, 0).and_then(|name| run.relations.class_named(&name, &run.search_path()));
        Ok(oid.map_or(Value::Null, Value::Int))
    }),
    text("to_regtype", TYPE, |run, args| {
        let oid = words(args, 0).and_then(|name| run.relations.type_named(&name));
        Ok(oid.map_or(Value::Null, Value::Int))
    }),
    text("to_regnamespace", Kind::of(Scalar::Namespace), |run, args| {
        let oid = words(args, 0).and_then(|name| run.relations.namespace_named(&name));
        Ok(oid.map_or(Value::Null, Value::Int))
    }),
    text("quote_ident", Kind::TEXT, |_, args| mapped(args, quoted_ident)),
    text("quote_literal", Kind::TEXT, |_, args| {
        mapped(args, |text| format!("'{}'", text.replace('\'', "''")))
    }),
    // Texts.
    text("lower", Kind::TEXT, |_, args| mapped(args, str::to_lowercase)),
    text("upper", Kind::TEXT, |_, args| mapped(args, str::to_uppercase)),
    text("length", Kind::INT4, |_, args| {
        Ok(words(args, 0).map_or(Value::Null, |text| Value::Int(text.chars().count() as i64)))
    }),
    text("char_length", Kind::INT4, |_, args| {
        Ok(words(args, 0).map_or(Value::Null, |text| Value::Int(text.chars().count() as i64)))
    }),
    text("left", Kind::TEXT, |_, args| {
        let count = usize::try_from(arg(args, 1).integer().unwrap_or(0)).unwrap_or(0);
        mapped(args, |text| text.chars().take(count).collect())
    }),
    text("right", Kind::TEXT, |_, args| {
        let count = usize::try_from(arg(args, 1).integer().unwrap_or(0)).unwrap_or(0);
        mapped(args, |text| text.chars().skip(text.chars().count().saturating_sub(count)).collect())
    }),
    text("replace", Kind::TEXT, |run, args| {
        let (what, by) = (words(args, 1).unwrap_or_default(), words(args, 2).unwrap_or_default());
        if what.is_empty() {
            return Ok(arg(args, 0).clone());
        }
        run.will_make(words(args, 0).map_or(0, |text| text.matches(&what).count()), by.len())?;
        mapped(args, |text| text.replace(&what, &by))
    }),
    text("regexp_replace", Kind::TEXT, regexp_replace),
    text("substring", Kind::TEXT, substring),
    text("substr", Kind::TEXT, substring),
    text("btrim", Kind::TEXT, |_, args| trimmed(args, true, true)),
    text("ltrim", Kind::TEXT, |_, args| trimmed(args, true, false)),
    text("rtrim", Kind::TEXT, |_, args| trimmed(args, false, true)),
    text("strpos", Kind::INT4, |_, args| {
        let (Some(text), Some(part)) = (words(args, 0), words(args, 1)) else { return Ok(Value::Null) };
        let before = text.find(&part).map(|at| text[..at].chars().count() as i64 + 1);
        Ok(Value::Int(before.unwrap_or(0)))
    }),
    text("split_part", Kind::TEXT, |_, args| {
        let (between, place) = (words(args, 1).unwrap_or_default(), arg(args, 2).integer().unwrap_or(1));
        let place = usize::try_from(place.saturating_sub(1)).unwrap_or(usize::MAX);
        mapped(args, |text| text.split(&between).nth(place).unwrap_or_default().to_owned())
    }),
    text("concat", Kind::TEXT, |_, args| {
        Ok(Value::text(args.iter().filter_map(Value::to_text).collect::<String>()))
    }),
    text("concat_ws", Kind::TEXT, |run, args| {
        let between = words(args, 0).unwrap_or_default();
        run.will_make(args.len(), between.len())?;
        let texts: Vec<String> = args.iter().skip(1).filter_map(Value::to_text).collect();
        Ok(Value::text(texts.join(&between)))
    }),
    text("format", Kind::TEXT, |_, args| {
        let mut text = words(args, 0).unwrap_or_default();
        for value in args.iter().skip(1).map(|value| value.to_text().unwrap_or_default()) {
            text = ["%s", "%I", "%L"].iter().fold(text, |text, mark| text.replacen(mark, &value, 1));
        }
        Ok(Value::text(text))
    }),
    text("json_build_object", Kind::TEXT, nothing),
    text("jsonb_build_object", Kind::TEXT, nothing),
    like("nullif", Gives::First, |_, args| {
        let is_same = arg(args, 0).compare(arg(args, 1)) == Some(std::cmp::Ordering::Equal);
        Ok(if is_same { Value::Null } else { arg(args, 0).clone() })
    }),
    like("greatest", Gives::First, |_, args| least(args, std::cmp::Ordering::Greater)),
    like("least", Gives::First, |_, args| least(args, std::cmp::Ordering::Less)),
    like("abs", Gives::First, |_, args| {
        Ok(arg(args, 0).integer().map_or(Value::Null, |n| Value::Int(n.saturating_abs())))
    }),
    // Arrays.
    plain("array_to_string", Kind::TEXT, joined),
    plain("array_length", Kind::INT4, |_, args| {
        let count = arg(args, 0).items().len() as i64;
        Ok(if count == 0 { Value::Null } else { Value::Int(count) })
    }),
    plain("array_upper", Kind::INT4, |_, args| {
        let count = arg(args, 0).items().len() as i64;
        Ok(if count == 0 { Value::Null } else { Value::Int(count) })
    }),
    plain("array_lower", Kind::INT4, |_, args| {
        Ok(if arg(args, 0).items().is_empty() { Value::Null } else { Value::Int(1) })
    }),
    plain("cardinality", Kind::INT4, |_, args| Ok(Value::Int(arg(args, 0).items().len() as i64))),
    plain("array_position", Kind::INT4, |_, args| {
        let is_it = |item: &Value| item.compare(arg(args, 1)) == Some(std::cmp::Ordering::Equal);
        let place = arg(args, 0).items().iter().position(is_it);
        Ok(place.map_or(Value::Null, |place| Value::Int(place as i64 + 1)))
    }),
    like("array_remove", Gives::First, |_, args| {
        let items = arg(args, 0).items().into_iter();
        let left = items.filter(|item| item.compare(arg(args, 1)) != Some(std::cmp::Ordering::Equal));
        Ok(if arg(args, 0).is_null() { Value::Null } else { Value::array(left.collect()) })
    }),
    plain("string_to_array", TEXTS, |_, args| {
        let (Some(text), Some(between)) = (words(args, 0), words(args, 1)) else { return Ok(Value::Null) };
        Ok(Value::array(text.split(&between).map(Value::text).collect()))
    }),
    set("unnest", Gives::Item, &[], |_, args| Ok(Value::array(arg(args, 0).items()))),
    set("generate_series", Gives::Kind(Kind::INT4), &[], series),
    set("generate_subscripts", Gives::Kind(Kind::INT4), &[], |_, args| Ok(Value::array(places(args)))),
    set("_pg_expandarray", Gives::Kind(Kind::RECORD), &[("x", Kind::INT4), ("n", Kind::INT4)], |_, args| {
        let items = arg(args, 0).items().into_iter().zip(places(args));
        Ok(Value::array(
            items.map(|(item, place)| Value::Record([("x", item), ("n", place)].into())).collect(),
        ))
    }),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_stands_once_in_the_list() {
        let mut names: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(is_known("version") && !is_known("lower") && !is_known("no_such"));
    }
}
