/*
description = "Where each source table was last emptied by TRUNCATE: rows at or below this LSN are gone. -1: never."
task = "deduplicate"
strategy = "rebuild"
key = ["source_table"]
not_null = ["lsn"]
*/
select 'customers' as source_table, coalesce(max(_lsn), -1) as lsn from staged.customers where _op = 't'
union all
select 'merchants' as source_table, coalesce(max(_lsn), -1) as lsn from staged.merchants where _op = 't'
union all
select 'transactions' as source_table, coalesce(max(_lsn), -1) as lsn from staged.transactions where _op = 't'
union all
select 'refunds' as source_table, coalesce(max(_lsn), -1) as lsn from staged.refunds where _op = 't'
union all
select 'disputes' as source_table, coalesce(max(_lsn), -1) as lsn from staged.disputes where _op = 't'
