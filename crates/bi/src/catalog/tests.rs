//! What clients ask of the catalogue, in their own words, and the answers.

use super::relations::Relations;
use super::*;
use affluent_lake::sql::DescribedTable;
use arrow_schema::{DataType, Schema, TimeUnit};

fn table(name: &str) -> DescribedTable {
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("amount", DataType::Decimal128(18, 4), true),
        Field::new("paid_at", zoned, true),
    ];
    DescribedTable {
        namespace: "dwh".to_owned(),
        name: name.to_owned(),
        column_comments: vec![None, Some("in the currency of the row".to_owned()), None],
        schema: Arc::new(Schema::new(fields)),
        comment: Some("every payment".to_owned()),
        rows: 3,
        bytes: 20_480,
    }
}

/// The rows of a statement over the catalogue, as texts; nulls are `-`.
fn answer(text: &str) -> Vec<String> {
    let relations =
        Relations::new(vec![table("fact_payments"), table("dim_date")], DATABASE, &["ana".to_owned()]);
    let who = Who::new("ana".to_owned(), DATABASE.to_owned(), 7);
    let Statement::Query(query) = parsed(text).unwrap() else { panic!("no query: {text}") };
    assert!(dialect::is_catalogue(&query, &relations).unwrap(), "not the catalogue's: {text}");
    let (query, _) = eval::bind(&relations, &query).unwrap_or_else(|error| panic!("{error}: {text}"));
    let run = eval::Run::new(&relations, &who, &[]);
    let rows = eval::run(&query, &run).unwrap_or_else(|error| panic!("{error}: {text}"));
    let batch = output::batch(&output::schema(&query.columns), &query.columns, rows, &run).unwrap();
    let cell = |row: usize, array: &ArrayRef| {
        let mut out = Vec::new();
        if array.is_null(row) {
            return "-".to_owned();
        }
        types::write_text(array.as_ref(), row, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let row = |row: usize| batch.columns().iter().map(|array| cell(row, array)).collect::<Vec<_>>().join("|");
    (0..batch.num_rows()).map(row).collect()
}

#[test]
fn a_server_is_recognised() {
    assert_eq!(answer("select pg_catalog.version()"), ["PostgreSQL 15.0 (Affluent)"]);
    assert_eq!(answer("select current_user, current_database(), current_schema"), ["ana|affluent|public"]);
}

#[test]
fn psql_describes_a_table() {
    let found = answer(
        "SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c \
         LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relname OPERATOR(pg_catalog.~) '^(fact_payments)$' COLLATE pg_catalog.default \
         AND n.nspname OPERATOR(pg_catalog.~) '^(dwh)$' COLLATE pg_catalog.default ORDER BY 2, 3;",
    );
    assert_eq!(found.len(), 1);
    let oid = found[0].split('|').next().unwrap();
    let columns = answer(&format!(
        "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), \
         (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) FROM pg_catalog.pg_attrdef d \
          WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef), a.attnotnull, \
         (SELECT c.collname FROM pg_catalog.pg_collation c, pg_catalog.pg_type t \
          WHERE c.oid = a.attcollation AND t.oid = a.atttypid AND a.attcollation <> t.typcollation) AS attcollation, \
         a.attidentity, a.attgenerated, pg_catalog.col_description(a.attrelid, a.attnum) \
         FROM pg_catalog.pg_attribute a \
         WHERE a.attrelid = '{oid}' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;"
    ));
    assert_eq!(
        columns,
        [
            "id|bigint|-|t|-|||-",
            "amount|numeric(18,4)|-|f|-|||in the currency of the row",
            "paid_at|timestamp with time zone|-|f|-|||-",
        ]
    );
    let publications = answer(&format!(
        "SELECT pubname, NULL, NULL FROM pg_catalog.pg_publication p \
         JOIN pg_catalog.pg_publication_namespace pn ON p.oid = pn.pnpubid \
         JOIN pg_catalog.pg_class pc ON pc.relnamespace = pn.pnnspid \
         WHERE pc.oid ='{oid}' and pg_catalog.pg_relation_is_publishable('{oid}') \
         UNION SELECT pubname, pg_get_expr(pr.prqual, c.oid), (CASE WHEN pr.prattrs IS NOT NULL THEN \
         (SELECT string_agg(attname, ', ') FROM pg_catalog.generate_series(0, \
          pg_catalog.array_upper(pr.prattrs::pg_catalog.int2[], 1)) s, pg_catalog.pg_attribute \
          WHERE attrelid = pr.prrelid AND attnum = prattrs[s]) ELSE NULL END) \
         FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_rel pr ON p.oid = pr.prpubid \
         JOIN pg_catalog.pg_class c ON c.oid = pr.prrelid WHERE pr.prrelid = '{oid}' ORDER BY 1;"
    ));
    assert_eq!(publications, [] as [&str; 0]);
}

#[test]
fn psql_lists_tables_roles_and_databases() {
    let tables = answer(
        "SELECT n.nspname as \"Schema\", c.relname as \"Name\", \
         CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' END as \"Type\", \
         pg_catalog.pg_get_userbyid(c.relowner) as \"Owner\", \
         pg_catalog.pg_size_pretty(pg_catalog.pg_table_size(c.oid)) as \"Size\", \
         pg_catalog.obj_description(c.oid, 'pg_class') as \"Description\" \
         FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam \
         WHERE c.relkind IN ('r','p','') AND n.nspname !~ '^pg_toast' AND n.nspname <> 'pg_catalog' \
         AND n.nspname <> 'information_schema' AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1,2;",
    );
    assert_eq!(
        tables,
        [
            "dwh|dim_date|table|affluent|20 kB|every payment",
            "dwh|fact_payments|table|affluent|20 kB|every payment"
        ]
    );
    let roles = answer(
        "SELECT r.rolname, r.rolsuper, ARRAY(SELECT b.rolname FROM pg_catalog.pg_auth_members m \
         JOIN pg_catalog.pg_roles b ON (m.roleid = b.oid) WHERE m.member = r.oid) as memberof \
         FROM pg_catalog.pg_roles r WHERE r.rolname !~ '^pg_' ORDER BY 1;",
    );
    assert_eq!(roles, ["affluent|f|{}", "ana|f|{}"]);
    let databases = answer(
        "SELECT d.datname as \"Name\", pg_catalog.pg_get_userbyid(d.datdba) as \"Owner\", \
         pg_catalog.pg_encoding_to_char(d.encoding) as \"Encoding\", \
         pg_catalog.array_to_string(d.datacl, E'\\n') AS \"Access privileges\" \
         FROM pg_catalog.pg_database d ORDER BY 1;",
    );
    assert_eq!(databases, ["affluent|affluent|UTF8|-"]);
}

#[test]
fn java_clients_number_columns() {
    let columns = answer(
        "SELECT * FROM (SELECT n.nspname,c.relname,a.attname,a.atttypid, \
         a.attnotnull OR (t.typtype = 'd' AND t.typnotnull) AS attnotnull,a.atttypmod,a.attlen, \
         t.typtypmod,row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum) AS attnum, \
         nullif(a.attidentity, '') as attidentity, pg_catalog.pg_get_expr(def.adbin, def.adrelid) AS adsrc, \
         dsc.description,t.typbasetype,t.typtype FROM pg_catalog.pg_namespace n \
         JOIN pg_catalog.pg_class c ON (c.relnamespace = n.oid) \
         JOIN pg_catalog.pg_attribute a ON (a.attrelid=c.oid) \
         JOIN pg_catalog.pg_type t ON (a.atttypid = t.oid) \
         LEFT JOIN pg_catalog.pg_attrdef def ON (a.attrelid=def.adrelid AND a.attnum = def.adnum) \
         LEFT JOIN pg_catalog.pg_description dsc ON (c.oid=dsc.objoid AND a.attnum = dsc.objsubid) \
         LEFT JOIN pg_catalog.pg_class dc ON (dc.oid=dsc.classoid AND dc.relname='pg_class') \
         LEFT JOIN pg_catalog.pg_namespace dn ON (dc.relnamespace=dn.oid AND dn.nspname='pg_catalog') \
         WHERE c.relkind in ('r','p','v','f','m') and a.attnum > 0 AND NOT a.attisdropped \
         AND n.nspname LIKE 'dwh' AND c.relname LIKE 'fact\\_payments') c WHERE true \
         ORDER BY nspname,c.relname,attnum ",
    );
    assert_eq!(columns.len(), 3);
    assert_eq!(
        columns[1],
        "dwh|fact_payments|amount|1700|f|1179656|-1|-1|2|-|-|in the currency of the row|0|b"
    );
    let keys = answer(
        "SELECT result.TABLE_NAME, result.COLUMN_NAME, result.KEY_SEQ FROM (SELECT ct.relname AS TABLE_NAME, \
         a.attname AS COLUMN_NAME, (information_schema._pg_expandarray(i.indkey)).n AS KEY_SEQ, \
         information_schema._pg_expandarray(i.indkey) AS KEYS, a.attnum AS A_ATTNUM \
         FROM pg_catalog.pg_class ct JOIN pg_catalog.pg_attribute a ON (ct.oid = a.attrelid) \
         JOIN pg_catalog.pg_index i ON ( a.attrelid = i.indrelid) WHERE i.indisprimary) result \
         where result.A_ATTNUM = (result.KEYS).x ORDER BY result.key_seq",
    );
    assert_eq!(keys, [] as [&str; 0]);
}

#[test]
fn java_clients_ask_for_foreign_keys() {
    let text = "select con.conname, pos.n from pg_catalog.pg_constraint con, pg_catalog.generate_series(1, 32) pos(n), \
                pg_catalog.pg_attribute fka where fka.attnum = con.conkey[pos.n] and con.contype = 'f' order by 1, pos.n";
    assert_eq!(answer(text), Vec::<String>::new());
}

#[test]
fn subqueries_sets_and_groups_are_understood() {
    for (text, expected) in [
        ("select unnest(current_schemas(true))", &["pg_catalog", "public", "dwh"][..]),
        ("select 'dwh.fact_payments'::regclass::text", &["fact_payments"]),
        (
            "select count(*), min(attname) from pg_attribute a where attrelid = 'fact_payments'::regclass",
            &["3|amount"],
        ),
        (
            "select relname, (select count(*) from pg_attribute where attrelid = c.oid) from pg_class c \
             where oid in (select attrelid from pg_attribute) order by relname desc limit 1",
            &["fact_payments|3"],
        ),
        ("with t as (select 1 as a union all select 2) select sum(a) from t, pg_am", &["3"]),
        (
            "select s.i, t.n from pg_am, unnest(array['a', 'b']) with ordinality as t(n, i2), generate_series(1, 1) s(i)",
            &["1|a", "1|b"],
        ),
        (
            "select string_agg(attname, ',' order by attnum desc) from pg_attribute where attrelid = 'dim_date'::regclass group by attrelid",
            &["paid_at,amount,id"],
        ),
        ("select 'r' = any(array['r', 'v']), 1 = all(array[1, 2]), null::int in (1) from pg_am", &["t|f|-"]),
        (
            "select table_name, numeric_precision, numeric_scale from information_schema.columns where column_name = 'amount' and table_name like 'fact%'",
            &["fact_payments|18|4"],
        ),
    ] {
        assert_eq!(answer(text), expected, "{text}");
    }
}

/// The code of the error that a statement ends with, while its names are settled or its rows are made.
fn refused(text: &str) -> &'static str {
    let relations = Relations::new(vec![table("fact_payments")], DATABASE, &[]);
    let who = Who::new("ana".to_owned(), DATABASE.to_owned(), 7);
    let Statement::Query(query) = parsed(text).unwrap() else { panic!("no query: {text}") };
    let made = eval::bind(&relations, &query)
        .and_then(|(query, _)| eval::run(&query, &eval::Run::new(&relations, &who, &[])));
    made.map(|rows| rows.len()).unwrap_err().code
}

#[test]
fn what_has_no_end_is_stopped() {
    // A table expression over the one before, and so on.
    let chain = |first: &str, next: &dyn Fn(usize) -> String, count: usize| {
        let steps: Vec<String> = (1..count).map(|step| format!("t{step} as ({})", next(step - 1))).collect();
        format!("with t0 as ({first}), {} select * from t{}", steps.join(", "), count - 1)
    };
    let longer = |before: usize| format!("select concat(x, x, x, x, x, x, x, x) as x from t{before}");
    let wider = |before: usize| format!("select * from t{before} a, t{before} b");
    let mut nested = "1".to_owned();
    for _ in 0..25 {
        nested = format!("({nested}) between 1 and 2");
    }
    for text in [
        "select count(*) from pg_settings a, pg_settings b, pg_settings c, pg_settings d, pg_settings e",
        &chain("select 'sixteen letters.' as x", &longer, 12),
        &chain("select 1 as x", &wider, 30),
        &format!("select {nested}"),
        "select replace(a, 'x', a) from (select replace(a, 'x', a) as a from (select replace(a, 'x', a) as a \
         from (select array_to_string(array_agg('x'), '') as a from generate_series(1, 1000)) r) s) t",
        "select count(*) from generate_series(0, '-9223372036854775808'::int8, -1)",
    ] {
        assert_eq!(refused(text), code::LIMIT_EXCEEDED, "{text}");
    }
}

#[test]
fn what_nobody_waits_for_ends() {
    let relations = Relations::new(vec![table("fact_payments")], DATABASE, &[]);
    let who = Who::new("ana".to_owned(), DATABASE.to_owned(), 7);
    let text = "select count(*) from pg_settings a, pg_settings b \
                where a.name || b.name || a.name || b.name || a.name > b.name";
    let Statement::Query(query) = parsed(text).unwrap() else { panic!() };
    let (query, _) = eval::bind(&relations, &query).unwrap();
    let stop = CancellationToken::new();
    let run = || eval::run(&query, &eval::Run::new(&relations, &who, &[]).until(stop.clone()));
    assert_eq!(run().unwrap().len(), 1);
    stop.cancel();
    assert_eq!(run().unwrap_err().code, code::CANCELLED);
}

#[test]
fn a_series_has_the_numbers_between_its_ends() {
    for (series, count) in
        [("1, 0, 2", "0"), ("0, 1, -2", "0"), ("1, 0, -2", "1"), ("1, 5, 2", "3"), ("1, 5, 0", "0")]
    {
        let text = format!("select count(*) from pg_am, generate_series({series})");
        assert_eq!(answer(&text), [count], "{series}");
    }
}
