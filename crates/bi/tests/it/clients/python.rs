//! psycopg and SQLAlchemy.

use super::{printed, served};
use crate::endpoint::Endpoint;
use std::process::Command;

async fn python(endpoint: &Endpoint, program: &str) -> String {
    let python = std::env::var("AFFLUENT_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut command = Command::new(python);
    command.args(["-c", program, &endpoint.parameters("user=affluent"), &endpoint.address.to_string()]);
    printed(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn psycopg_binds_values_and_opens_cursors() {
    let (_warehouse, endpoint) = served().await;
    let program = "
import datetime, decimal, sys, psycopg
with psycopg.connect(sys.argv[1]) as c:
    for binary in (False, True):
        row = c.execute('select payment, amount, memo, created_at from dwh.fact_payments where payment = %s and amount > %s',
                        (1, decimal.Decimal('12')), binary=binary).fetchone()
        assert row[:3] == (1, decimal.Decimal('12.3400'), 'a'), row
        assert isinstance(row[3], datetime.datetime) and row[3].utcoffset() == datetime.timedelta(0), row
    with c.cursor(name='many') as cursor:
        cursor.itersize = 1
        cursor.execute('select payment from dwh.fact_payments order by payment')
        assert [row[0] for row in cursor] == [1, 2]
with psycopg.connect(sys.argv[1], autocommit=True) as c:
    c.execute('discard all')
    try:
        c.execute('delete from dwh.fact_payments')
        raise SystemExit('deleted')
    except psycopg.errors.ReadOnlySqlTransaction:
        pass
print('done')
";
    assert_eq!(python(&endpoint, program).await.trim(), "done");
    endpoint.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlalchemy_reflects_tables() {
    let (_warehouse, endpoint) = served().await;
    let program = "
import decimal, sys, sqlalchemy as sa
engine = sa.create_engine(f'postgresql+psycopg://affluent@{sys.argv[2]}/affluent')
seen = sa.inspect(engine)
assert 'dwh' in seen.get_schema_names()
assert {'fact_payments', 'currencies'} <= set(seen.get_table_names('dwh')), seen.get_table_names('dwh')
assert seen.get_view_names('dwh') == []
assert seen.has_table('fact_payments', schema='dwh') and not seen.has_table('no_such', schema='dwh')
columns = {c['name']: c for c in seen.get_columns('fact_payments', schema='dwh')}
amount, at = columns['amount']['type'], columns['created_at']['type']
assert (amount.precision, amount.scale) == (18, 4), amount
assert isinstance(at, sa.TIMESTAMP) and at.timezone, at
assert isinstance(columns['payment']['type'], sa.BIGINT), columns
seen.get_pk_constraint('fact_payments', schema='dwh')
assert seen.get_foreign_keys('fact_payments', schema='dwh') == []
assert seen.get_indexes('fact_payments', schema='dwh') == []
assert seen.get_unique_constraints('fact_payments', schema='dwh') == []
seen.get_table_comment('fact_payments', schema='dwh')
table = sa.Table('fact_payments', sa.MetaData(), schema='dwh', autoload_with=engine)
with engine.connect() as c:
    total = c.execute(sa.select(sa.func.sum(table.c.amount)).where(table.c.payment.in_([1, 2]))).scalar()
    assert total == decimal.Decimal('14.8400'), total
print('done')
";
    assert_eq!(python(&endpoint, program).await.trim(), "done");
    endpoint.end().await.unwrap();
}
