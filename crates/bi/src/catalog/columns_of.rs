//! The columns of the catalogue's tables, as PostgreSQL 15 has them: `name:type`. A table that is here and not in `rows`
//! has no rows.

/// Of `pg_catalog`.
pub(super) const COLUMNS: &[(&str, &str)] = &[
    ("pg_namespace", "oid:oid nspname:name nspowner:oid nspacl:text[]"),
    (
        "pg_class",
        "oid:oid relname:name relnamespace:oid reltype:oid reloftype:oid relowner:oid relam:oid relfilenode:oid \
         reltablespace:oid relpages:int4 reltuples:float8 relallvisible:int4 reltoastrelid:oid relhasindex:bool \
         relisshared:bool relpersistence:\"char\" relkind:\"char\" relnatts:int2 relchecks:int2 relhasrules:bool \
         relhastriggers:bool relhassubclass:bool relrowsecurity:bool relforcerowsecurity:bool relispopulated:bool \
         relreplident:\"char\" relispartition:bool relrewrite:oid relfrozenxid:oid relminmxid:oid relacl:text[] \
         reloptions:text[] relpartbound:text tableoid:oid xmin:oid",
    ),
    (
        "pg_attribute",
        "attrelid:oid attname:name atttypid:oid attstattarget:int4 attlen:int2 attnum:int2 attndims:int4 \
         attcacheoff:int4 atttypmod:int4 attbyval:bool attalign:\"char\" attstorage:\"char\" attcompression:\"char\" \
         attnotnull:bool atthasdef:bool atthasmissing:bool attidentity:\"char\" attgenerated:\"char\" attisdropped:bool \
         attislocal:bool attinhcount:int4 attcollation:oid attacl:text[] attoptions:text[] attfdwoptions:text[] \
         attmissingval:text tableoid:oid",
    ),
    (
        "pg_type",
        "oid:oid typname:name typnamespace:oid typowner:oid typlen:int2 typbyval:bool typtype:\"char\" \
         typcategory:\"char\" typispreferred:bool typisdefined:bool typdelim:\"char\" typrelid:oid typsubscript:regproc \
         typelem:oid typarray:oid typinput:regproc typoutput:regproc typreceive:regproc typsend:regproc \
         typmodin:regproc typmodout:regproc typanalyze:regproc typalign:\"char\" typstorage:\"char\" typnotnull:bool \
         typbasetype:oid typtypmod:int4 typndims:int4 typcollation:oid typdefaultbin:text typdefault:text typacl:text[]",
    ),
    (
        "pg_database",
        "oid:oid datname:name datdba:oid encoding:int4 datlocprovider:\"char\" datistemplate:bool datallowconn:bool \
         datconnlimit:int4 datfrozenxid:oid datminmxid:oid dattablespace:oid datcollate:text datctype:text \
         daticulocale:text datcollversion:text datacl:text[] datlastsysoid:oid",
    ),
    (
        "pg_roles",
        "oid:oid rolname:name rolsuper:bool rolinherit:bool rolcreaterole:bool rolcreatedb:bool rolcanlogin:bool \
         rolreplication:bool rolconnlimit:int4 rolpassword:text rolvaliduntil:timestamptz rolbypassrls:bool \
         rolconfig:text[]",
    ),
    (
        "pg_user",
        "usename:name usesysid:oid usecreatedb:bool usesuper:bool userepl:bool usebypassrls:bool passwd:text \
         valuntil:timestamptz useconfig:text[]",
    ),
    ("pg_group", "groname:name grosysid:oid grolist:oid[]"),
    ("pg_auth_members", "roleid:oid member:oid grantor:oid admin_option:bool"),
    ("pg_description", "objoid:oid classoid:oid objsubid:int4 description:text"),
    ("pg_shdescription", "objoid:oid classoid:oid description:text"),
    ("pg_attrdef", "oid:oid adrelid:oid adnum:int2 adbin:text tableoid:oid"),
    (
        "pg_index",
        "indexrelid:oid indrelid:oid indnatts:int2 indnkeyatts:int2 indisunique:bool indnullsnotdistinct:bool \
         indisprimary:bool indisexclusion:bool indimmediate:bool indisclustered:bool indisvalid:bool indcheckxmin:bool \
         indisready:bool indislive:bool indisreplident:bool indkey:int2[] indcollation:oid[] indclass:oid[] \
         indoption:int2[] indexprs:text indpred:text",
    ),
    (
        "pg_constraint",
        "oid:oid conname:name connamespace:oid contype:\"char\" condeferrable:bool condeferred:bool convalidated:bool \
         conrelid:oid contypid:oid conindid:oid conparentid:oid confrelid:oid confupdtype:\"char\" confdeltype:\"char\" \
         confmatchtype:\"char\" conislocal:bool coninhcount:int4 connoinherit:bool conkey:int2[] confkey:int2[] \
         conpfeqop:oid[] conppeqop:oid[] conffeqop:oid[] confdelsetcols:int2[] conexclop:oid[] conbin:text tableoid:oid",
    ),
    (
        "pg_proc",
        "oid:oid proname:name pronamespace:oid proowner:oid prolang:oid procost:float8 prorows:float8 provariadic:oid \
         prosupport:regproc prokind:\"char\" prosecdef:bool proleakproof:bool proisstrict:bool proretset:bool \
         provolatile:\"char\" proparallel:\"char\" pronargs:int2 pronargdefaults:int2 prorettype:oid proargtypes:oid[] \
         proallargtypes:oid[] proargmodes:text[] proargnames:text[] proargdefaults:text protrftypes:oid[] prosrc:text \
         probin:text prosqlbody:text proconfig:text[] proacl:text[]",
    ),
    ("pg_am", "oid:oid amname:name amhandler:regproc amtype:\"char\""),
    ("pg_tablespace", "oid:oid spcname:name spcowner:oid spcacl:text[] spcoptions:text[]"),
    (
        "pg_settings",
        "name:text setting:text unit:text category:text short_desc:text extra_desc:text context:text vartype:text \
         source:text min_val:text max_val:text enumvals:text[] boot_val:text reset_val:text sourcefile:text \
         sourceline:int4 pending_restart:bool",
    ),
    (
        "pg_tables",
        "schemaname:name tablename:name tableowner:name tablespace:name hasindexes:bool hasrules:bool hastriggers:bool \
         rowsecurity:bool",
    ),
    ("pg_views", "schemaname:name viewname:name viewowner:name definition:text"),
    (
        "pg_matviews",
        "schemaname:name matviewname:name matviewowner:name tablespace:name hasindexes:bool ispopulated:bool \
         definition:text",
    ),
    ("pg_indexes", "schemaname:name tablename:name indexname:name tablespace:name indexdef:text"),
    (
        "pg_sequences",
        "schemaname:name sequencename:name sequenceowner:name data_type:regtype start_value:int8 min_value:int8 \
         max_value:int8 increment_by:int8 cycle:bool cache_size:int8 last_value:int8",
    ),
    (
        "pg_sequence",
        "seqrelid:oid seqtypid:oid seqstart:int8 seqincrement:int8 seqmax:int8 seqmin:int8 seqcache:int8 seqcycle:bool",
    ),
    ("pg_enum", "oid:oid enumtypid:oid enumsortorder:float8 enumlabel:name"),
    (
        "pg_range",
        "rngtypid:oid rngsubtype:oid rngmultitypid:oid rngcollation:oid rngsubopc:oid rngcanonical:regproc \
         rngsubdiff:regproc",
    ),
    ("pg_inherits", "inhrelid:oid inhparent:oid inhseqno:int4 inhdetachpending:bool"),
    (
        "pg_trigger",
        "oid:oid tgrelid:oid tgparentid:oid tgname:name tgfoid:oid tgtype:int2 tgenabled:\"char\" tgisinternal:bool \
         tgconstrrelid:oid tgconstrindid:oid tgconstraint:oid tgdeferrable:bool tginitdeferred:bool tgnargs:int2 \
         tgattr:int2[] tgargs:text tgqual:text tgoldtable:name tgnewtable:name tableoid:oid",
    ),
    (
        "pg_rewrite",
        "oid:oid rulename:name ev_class:oid ev_type:\"char\" ev_enabled:\"char\" is_instead:bool ev_qual:text \
         ev_action:text tableoid:oid",
    ),
    (
        "pg_policy",
        "oid:oid polname:name polrelid:oid polcmd:\"char\" polpermissive:bool polroles:oid[] polqual:text \
         polwithcheck:text",
    ),
    (
        "pg_publication",
        "oid:oid pubname:name pubowner:oid puballtables:bool pubinsert:bool pubupdate:bool pubdelete:bool \
         pubtruncate:bool pubviaroot:bool",
    ),
    ("pg_publication_rel", "oid:oid prpubid:oid prrelid:oid prqual:text prattrs:int2[]"),
    ("pg_publication_namespace", "oid:oid pnpubid:oid pnnspid:oid"),
    ("pg_publication_tables", "pubname:name schemaname:name tablename:name attnames:name[] rowfilter:text"),
    (
        "pg_statistic_ext",
        "oid:oid stxrelid:oid stxname:name stxnamespace:oid stxowner:oid stxstattarget:int4 stxkeys:int2[] \
         stxkind:text[] stxexprs:text",
    ),
    (
        "pg_depend",
        "classid:oid objid:oid objsubid:int4 refclassid:oid refobjid:oid refobjsubid:int4 deptype:\"char\"",
    ),
    (
        "pg_extension",
        "oid:oid extname:name extowner:oid extnamespace:oid extrelocatable:bool extversion:text extconfig:oid[] \
         extcondition:text[]",
    ),
    ("pg_available_extensions", "name:name default_version:text installed_version:text comment:text"),
    (
        "pg_language",
        "oid:oid lanname:name lanowner:oid lanispl:bool lanpltrusted:bool lanplcallfoid:oid laninline:oid \
         lanvalidator:oid lanacl:text[]",
    ),
    (
        "pg_collation",
        "oid:oid collname:name collnamespace:oid collowner:oid collprovider:\"char\" collisdeterministic:bool \
         collencoding:int4 collcollate:text collctype:text colliculocale:text collversion:text",
    ),
    (
        "pg_opclass",
        "oid:oid opcmethod:oid opcname:name opcnamespace:oid opcowner:oid opcfamily:oid opcintype:oid opcdefault:bool \
         opckeytype:oid",
    ),
    (
        "pg_operator",
        "oid:oid oprname:name oprnamespace:oid oprowner:oid oprkind:\"char\" oprcanmerge:bool oprcanhash:bool \
         oprleft:oid oprright:oid oprresult:oid oprcom:oid oprnegate:oid oprcode:regproc oprrest:regproc \
         oprjoin:regproc",
    ),
    (
        "pg_cast",
        "oid:oid castsource:oid casttarget:oid castfunc:oid castcontext:\"char\" castmethod:\"char\"",
    ),
    ("pg_foreign_table", "ftrelid:oid ftserver:oid ftoptions:text[]"),
    (
        "pg_foreign_server",
        "oid:oid srvname:name srvowner:oid srvfdw:oid srvtype:text srvversion:text srvacl:text[] srvoptions:text[]",
    ),
    (
        "pg_foreign_data_wrapper",
        "oid:oid fdwname:name fdwowner:oid fdwhandler:oid fdwvalidator:oid fdwacl:text[] fdwoptions:text[]",
    ),
    ("pg_user_mapping", "oid:oid umuser:oid umserver:oid umoptions:text[]"),
    (
        "pg_partitioned_table",
        "partrelid:oid partstrat:\"char\" partnatts:int2 partdefid:oid partattrs:int2[] partclass:oid[] \
         partcollation:oid[] partexprs:text",
    ),
    (
        "pg_event_trigger",
        "oid:oid evtname:name evtevent:name evtowner:oid evtfoid:oid evtenabled:\"char\" evttags:text[]",
    ),
    ("pg_db_role_setting", "setdatabase:oid setrole:oid setconfig:text[]"),
    ("pg_timezone_names", "name:text abbrev:text utc_offset:text is_dst:bool"),
    (
        "pg_stat_activity",
        "datid:oid datname:name pid:int4 usesysid:oid usename:name application_name:text client_addr:text \
         client_port:int4 backend_start:timestamptz query_start:timestamptz state:text query:text backend_type:text",
    ),
    (
        "pg_stat_user_tables",
        "relid:oid schemaname:name relname:name seq_scan:int8 n_live_tup:int8 n_dead_tup:int8 last_vacuum:timestamptz \
         last_analyze:timestamptz",
    ),
    (
        "pg_stats",
        "schemaname:name tablename:name attname:name null_frac:float8 avg_width:int4 n_distinct:float8",
    ),
    ("pg_locks", "locktype:text database:oid relation:oid pid:int4 mode:text granted:bool"),
    (
        "pg_policies",
        "schemaname:name tablename:name policyname:name permissive:text roles:name[] cmd:text qual:text with_check:text",
    ),
];

/// Of `information_schema`.
pub(super) const INFORMATION_SCHEMA: &[(&str, &str)] = &[
    (
        "schemata",
        "catalog_name:name schema_name:name schema_owner:name default_character_set_catalog:name \
         default_character_set_schema:name default_character_set_name:name sql_path:text",
    ),
    (
        "tables",
        "table_catalog:name table_schema:name table_name:name table_type:text self_referencing_column_name:name \
         reference_generation:text user_defined_type_catalog:name user_defined_type_schema:name \
         user_defined_type_name:name is_insertable_into:text is_typed:text commit_action:text",
    ),
    (
        "columns",
        "table_catalog:name table_schema:name table_name:name column_name:name ordinal_position:int4 \
         column_default:text is_nullable:text data_type:text character_maximum_length:int4 character_octet_length:int4 \
         numeric_precision:int4 numeric_precision_radix:int4 numeric_scale:int4 datetime_precision:int4 \
         interval_type:text interval_precision:int4 character_set_name:name collation_name:name domain_name:name \
         udt_catalog:name udt_schema:name udt_name:name maximum_cardinality:int4 dtd_identifier:name \
         is_self_referencing:text is_identity:text identity_generation:text is_generated:text \
         generation_expression:text is_updatable:text",
    ),
    (
        "views",
        "table_catalog:name table_schema:name table_name:name view_definition:text check_option:text is_updatable:text \
         is_insertable_into:text",
    ),
    (
        "table_constraints",
        "constraint_catalog:name constraint_schema:name constraint_name:name table_catalog:name table_schema:name \
         table_name:name constraint_type:text is_deferrable:text initially_deferred:text enforced:text",
    ),
    (
        "key_column_usage",
        "constraint_catalog:name constraint_schema:name constraint_name:name table_catalog:name table_schema:name \
         table_name:name column_name:name ordinal_position:int4 position_in_unique_constraint:int4",
    ),
    (
        "constraint_column_usage",
        "table_catalog:name table_schema:name table_name:name column_name:name constraint_catalog:name \
         constraint_schema:name constraint_name:name",
    ),
    (
        "referential_constraints",
        "constraint_catalog:name constraint_schema:name constraint_name:name unique_constraint_catalog:name \
         unique_constraint_schema:name unique_constraint_name:name match_option:text update_rule:text delete_rule:text",
    ),
    (
        "check_constraints",
        "constraint_catalog:name constraint_schema:name constraint_name:name check_clause:text",
    ),
    (
        "table_privileges",
        "grantor:name grantee:name table_catalog:name table_schema:name table_name:name privilege_type:text \
         is_grantable:text with_hierarchy:text",
    ),
    (
        "role_table_grants",
        "grantor:name grantee:name table_catalog:name table_schema:name table_name:name privilege_type:text \
         is_grantable:text with_hierarchy:text",
    ),
    (
        "column_privileges",
        "grantor:name grantee:name table_catalog:name table_schema:name table_name:name column_name:name \
         privilege_type:text is_grantable:text",
    ),
    (
        "routines",
        "specific_catalog:name specific_schema:name specific_name:name routine_catalog:name routine_schema:name \
         routine_name:name routine_type:text data_type:text routine_definition:text external_language:text",
    ),
    (
        "parameters",
        "specific_catalog:name specific_schema:name specific_name:name ordinal_position:int4 parameter_mode:text \
         parameter_name:name data_type:text",
    ),
    (
        "sequences",
        "sequence_catalog:name sequence_schema:name sequence_name:name data_type:text start_value:text \
         minimum_value:text maximum_value:text increment:text cycle_option:text",
    ),
    (
        "triggers",
        "trigger_catalog:name trigger_schema:name trigger_name:name event_manipulation:text event_object_schema:name \
         event_object_table:name action_statement:text action_timing:text",
    ),
    ("enabled_roles", "role_name:name"),
    ("applicable_roles", "grantee:name role_name:name is_grantable:text"),
    ("information_schema_catalog_name", "catalog_name:name"),
    ("character_sets", "character_set_name:name default_collate_name:name"),
    ("element_types", "object_schema:name object_name:name collection_type_identifier:name data_type:text"),
];
