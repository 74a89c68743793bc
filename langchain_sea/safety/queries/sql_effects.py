"""What is known to be harmless in a parsed SQL statement: functions, settings, conditions that choose rows.

What is not in these lists has an effect that nobody here knows, and is a doubt.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from langchain_sea.safety.addresses.paths import find_bad_path
from langchain_sea.safety.addresses.ssrf import find_bad_address
from langchain_sea.safety.text.patterns import Danger

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["chooses_rows", "find_effects", "find_setting", "is_harmless_command"]

_FUNCTIONS = frozenset(
    # texts and patterns
    "ascii btrim bit_length char_length character_length chr concat concat_ws contains convert convert_from convert_to decode encode ends_with endswith"
    " field find_in_set format format_number group_concat hex unhex initcap insert instr jaro_winkler_similarity lcase left len length levenshtein like"
    " ilike glob regexp locate lower lpad ltrim mid md5 sha sha1 sha2 sha224 sha256 sha384 sha512 crc32 crc32c octet_length overlay ord parse_ident patindex position printf"
    " prefix quote quote_ident quote_literal quotename regexp_contains regexp_count regexp_extract regexp_extract_all regexp_full_match regexp_instr regexp_like"
    " regexp_matches regexp_match regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr repeat replace replicate reverse right rpad rtrim similarity"
    " soundex space split split_part starts_with startswith str strcmp string string_agg string_split string_to_array string_to_table strip_accents strpos stuff substr"
    " substring substring_index suffix to_ascii to_base64 from_base64 to_char to_code_points to_hex translate trim ts_headline to_tsquery to_tsvector plainto_tsquery"
    " phraseto_tsquery websearch_to_tsquery ts_rank ts_rank_cd setweight strip ucase unaccent unicode upper word_similarity show_trgm instr2 charindex difference"
    # numbers
    " abs acos acosd asin atan atan2 cbrt ceil ceiling cos cot degrees div exp factorial floor gcd greatest lcm least ln log log10 log2 mod pi pow power radians rand random"
    " round safe_divide sign sin sqrt square tan trunc truncate width_bucket to_number number_format bit_count isnan is_nan is_inf ieee_divide numeric conv oct bin scale"
    # dates
    " add_months addtime adddate age clock_timestamp convert_tz curdate current_date current_time current_timestamp curtime date date_add date_bin date_diff date_format date_part"
    " date_sub date_trunc datediff dateadd datename datepart datetime datetime_diff datetime_trunc datetrunc day dayname dayofmonth dayofweek dayofyear eomonth epoch extract"
    " format_date format_datetime format_timestamp from_days from_unixtime get_format getdate getutcdate hour isdate isfinite julianday justify_days justify_hours"
    " justify_interval last_day localtime localtimestamp make_date make_interval make_time make_timestamp make_timestamptz makedate maketime microsecond minute month monthname"
    " months_between next_day now parse_date parse_datetime parse_timestamp period_add period_diff quarter sec_to_time second statement_timestamp str_to_date"
    " strftime strptime subdate subtime sysdate sysdatetime sysdatetimeoffset sysutcdatetime time time_bucket time_format time_to_sec timediff timeofday timestamp timestamp_diff"
    " timestamp_micros timestamp_millis timestamp_seconds timestamp_trunc timestampadd timestampdiff to_date to_days to_seconds to_timestamp today transaction_timestamp"
    " unix_date unix_millis unix_seconds unix_timestamp unixepoch utc_date utc_time utc_timestamp week weekday weekofyear year yearweek yearmonth century decade isodow isoyear"
    # aggregates and windows
    " any_value approx_count_distinct approx_distinct approx_quantile approx_top_count array_agg array_concat_agg arg_max arg_min avg bit_and bit_or bit_xor bool_and bool_or corr count"
    " count_if count_big countif covar_pop covar_samp cume_dist dense_rank every first first_value grouping grouping_id histogram json_agg json_arrayagg json_group_array"
    " json_group_object json_object_agg json_objectagg jsonb_agg jsonb_object_agg kurtosis lag last last_value lead list listagg logical_and logical_or max max_by median min min_by mode nth_value ntile"
    " percent_rank percentile_cont percentile_disc product quantile quantile_cont quantile_disc range_agg rank regr_count regr_intercept regr_r2 regr_slope row_number skewness"
    " std stddev stddev_pop stddev_samp stdev stdevp sum total var var_pop var_samp variance varp checksum_agg xmlagg"
    # values, arrays, JSON
    " array array_append array_cat array_contains array_dims array_distinct array_fill array_length array_lower array_ndims array_position array_positions array_prepend array_remove array_replace"
    " array_reverse array_size array_slice array_sort array_to_json array_to_string array_upper cardinality cast choose coalesce element_at elt filter flatten from_json generate_series"
    " generate_subscripts generate_array hstore if ifnull iff iif int4range interval isnull isnumeric is_null json json_array json_array_elements json_array_elements_text json_array_length json_build_array"
    " json_build_object json_contains json_contains_path json_depth json_each json_each_text json_extract json_extract_array json_extract_path json_extract_path_text json_extract_scalar json_extract_string json_insert json_keys json_length json_merge_patch json_object"
    " json_object_keys json_populate_record json_query json_quote json_remove json_replace json_search json_set json_strip_nulls json_table json_to_record json_to_recordset json_tree json_type json_typeof json_unquote json_valid json_value"
    " jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text jsonb_exists jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object_keys"
    " jsonb_path_exists jsonb_path_query jsonb_path_query_array jsonb_path_query_first jsonb_pretty jsonb_set jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_typeof list_contains list_sort list_value"
    " likelihood likely unlikely map nullif nvl nvl2 num_nonnulls num_nulls openjson parse_json range row row_to_json safe_cast struct struct_pack to_json to_jsonb to_json_string try_cast try_convert"
    " typeof unnest values zeroifnull zeroblob uuid gen_random_uuid newid uuid_generate_v4 isjson object_construct object_keys get_path get try_to_number try_to_date try_parse_json sys_guid"
    # places
    " st_area st_asgeojson st_astext st_buffer st_centroid st_contains st_distance st_dwithin st_geogfromtext st_geogpoint st_geomfromtext st_intersects st_length st_makepoint st_point"
    " st_setsrid st_transform st_within st_x st_y st_distance_sphere st_union st_makeenvelope"
    # what the database says about itself
    " changes col_description connection_id current_catalog current_database current_schema current_schemas current_setting current_user database db_name error_message format_type found_rows has_table_privilege"
    " host_name inet_client_addr last_insert_rowid last_insert_id lastval obj_description object_id object_name pg_column_size pg_database_size pg_get_constraintdef pg_get_expr pg_get_indexdef pg_get_viewdef"
    " pg_get_functiondef pg_indexes_size pg_is_in_recovery pg_postmaster_start_time pg_relation_size pg_size_pretty pg_table_is_visible pg_table_size pg_total_relation_size pg_typeof pg_backend_pid row_count schema schema_name session_user scope_identity"
    " sqlite_version to_regclass total_changes txid_current user user_name version columnproperty objectproperty type_name pragma_table_info pragma_index_list pragma_index_info pragma_foreign_key_list pragma_table_list".split()
)  # fmt: skip
"""Functions of common databases that only compute or describe."""
_TYPED_WITH_EFFECT = frozenset(
    ["ReadCSV", "ReadParquet", "ToFile", "NextValueFor", "AIGenerate", "GenerateText", "GenerateTable"]
)
_SETTINGS = re.compile(
    r"(?:session\s+|local\s+|@@(?:session\.)?)?(?:search_path|time(?:\s*=)?[\s_]*zone|names|character\s+set\b.*|charset|client_encoding|datestyle|intervalstyle|statement_timeout|lock_timeout"
    r"|idle_in_transaction_session_timeout|work_mem|application_name|extra_float_digits|enable_\w+|jit|max_parallel_workers_per_gather|random_page_cost|default_statistics_target"
    r"|nocount|xact_abort|arithabort|ansi_\w+|quoted_identifier|dateformat|datefirst|language|rowcount|showplan_\w+|statistics\b.*|concat_null_yields_null"
    r"|max_execution_time|group_concat_max_len|sql_mode|collation_connection|character_set_\w+|autocommit|net_read_timeout|transaction\b.*|schema|bytea_output|timing|threads|memory_limit"
    r"|query_tag|week_start|@[\w.]+|hivevar:\w+)\b",
    re.IGNORECASE,
)
_PRAGMAS = frozenset(
    "table_info table_xinfo table_list index_list index_info index_xinfo foreign_key_list foreign_key_check database_list collation_list function_list module_list pragma_list"
    " compile_options integrity_check quick_check show_tables database_size storage_info version platform".split()
)
_PRAGMAS_READ = frozenset("user_version schema_version application_id encoding page_count page_size freelist_count journal_mode foreign_keys cache_size data_version".split())  # fmt: skip
"""Those that read while nothing is assigned to them."""
_COMMANDS = re.compile(
    r"\s*(?:(?:begin|start)(?:\s+(?:deferred|immediate|exclusive))?(?:\s+(?:tran(?:saction)?|work)(?:\s+\w+)?(?:\s+(?:isolation|read|level|only|write|committed|repeatable|serializable|snapshot|,)+\w*)*)?"
    r"|(?:commit|rollback|end)(?:\s+(?:tran(?:saction)?|work))?(?:\s+to(?:\s+savepoint)?)?(?:\s+\w+)?|savepoint\s+\w+|release(?:\s+savepoint)?\s+\w+"
    r"|(?:show|describe|desc|help|use|list|analyze)\b[^;()]*)\s*;?\s*",
    re.IGNORECASE,
)
_MIN_LIKE = 3  # characters of a pattern that chooses rows
_WIDE = 1_000  # rows between two numbers
_DATE = re.compile(r"\d{4}-\d{2}(?:-\d{2})?(?:[T ][\d:.+Z-]*)?")
_MAX_LITERALS = 200  # of one statement that are judged


def is_harmless_command(text: str) -> bool:
    """Return whether a statement that the parser does not know is one of those that change nothing, as a whole."""
    return _COMMANDS.fullmatch(text) is not None


def find_setting(statement: str) -> str | None:
    """Return which setting a `SET` or `PRAGMA` changes that is not known to be harmless."""
    text = re.sub(r"^\s*(?:set|pragma)\s+", "", statement, flags=re.IGNORECASE).strip()
    if statement.lstrip()[:6].lower() == "pragma":
        name = re.match(r"(?:\w+\.)?(\w+)\s*(\(|=)?", text)
        is_known = name is not None and (
            (
                name[1].lower() in _PRAGMAS
                and (name[2] != "=" or "table_" in name[1] or "index_" in name[1] or "list" in name[1])
            )
            or (name[1].lower() in _PRAGMAS_READ and not name[2])
        )
        return None if is_known else text[:60]
    parts = [part.strip() for part in re.sub(r"'[^']*'|\"[^\"]*\"", "''", text).split(",")]
    return next((part[:60] for part in parts if "=" in part and not _SETTINGS.match(part)), None) or (
        None if parts and _SETTINGS.match(parts[0]) else text[:60]
    )


def find_effects(statement: Any) -> Iterator[Danger]:
    """Yield functions whose effect is not known, and files and inner addresses that functions and tables name."""
    for number, node in enumerate(_list_calls(statement)):
        if number >= _MAX_LITERALS:
            yield Danger(f"it calls more than {_MAX_LITERALS} functions, which are not all judged")
            return
        kind = type(node).__name__
        if kind == "Anonymous":
            name = str(node.this)
            if name.lower() not in _FUNCTIONS:
                yield Danger(f"it calls a function whose effect is not known ({name[:40]!r})")
        elif kind in _TYPED_WITH_EFFECT:
            yield Danger(f"it calls a function that reads or writes more than its tables ({kind})")
        elif kind == "Table" and type(node.this).__name__ == "Identifier":
            if danger := _judge_place(str(node.this.this)):
                yield danger
            continue
        for literal in [each for each in node.walk() if type(each).__name__ == "Literal" and each.is_string][:20]:
            if danger := _judge_place(str(literal.this)):
                yield danger


def chooses_rows(condition: Any) -> bool:
    """Return whether a condition compares a column with a value, so that it is about particular rows."""
    kind = type(condition).__name__
    if kind == "Paren":
        return chooses_rows(condition.this)
    if kind == "And":
        return chooses_rows(condition.left) or chooses_rows(condition.right)
    if kind == "Or":
        return chooses_rows(condition.left) and chooses_rows(condition.right)
    if kind in ("EQ", "NullSafeEQ"):
        return any(_is_column(a) and _is_value(b) for a, b in _both_ways(condition))
    if kind == "In":
        return _is_column(condition.this) and bool(condition.expressions) and all(map(_is_value, condition.expressions))
    if kind in ("Like", "ILike", "Glob"):
        return (
            _is_column(condition.this) and len(re.sub(r"[%_*\s]", "", _get_literal(condition.expression))) >= _MIN_LIKE
        )
    if kind == "Between":
        low, high = condition.args["low"], condition.args["high"]
        return _is_column(condition.this) and _is_value(low) and _is_value(high) and not _is_wide(low, high)
    if kind == "Is":
        return _is_column(condition.this) and type(condition.expression).__name__ in ("Null", "Boolean")
    if kind in ("LT", "LTE", "GT", "GTE"):
        return any(_is_column(a) and _is_limit(a, b) for a, b in _both_ways(condition))
    return kind == "Column"  # a column of truth values


def _both_ways(condition: Any) -> Iterator[tuple[Any, Any]]:
    yield condition.left, condition.right
    yield condition.right, condition.left


def _is_column(node: Any) -> bool:
    kind = type(node).__name__
    if kind in ("Lower", "Upper", "Trim", "Cast", "Paren", "Date", "TsOrDsToDate"):
        return _is_column(node.this)
    return kind in ("Column", "Identifier", "Dot", "JSONExtract", "JSONExtractScalar")


def _is_value(node: Any) -> bool:
    kind = type(node).__name__
    if kind in ("Neg", "Paren", "Cast", "Lower", "Upper"):
        return _is_value(node.this)
    return kind in (
        "Literal",
        "Placeholder",
        "Parameter",
        "Boolean",
        "Null",
        "SessionParameter",
        "HexString",
    ) or _is_date(node)


def _is_wide(low: Any, high: Any) -> bool:
    """Return whether two numbers are so far apart that rows between them may be all rows."""
    try:
        return float(str(high.this)) - float(str(low.this)) >= _WIDE
    except (ValueError, AttributeError):
        return False


def _is_limit(column: Any, node: Any) -> bool:
    """Return whether a date divides rows: it is in the years of people, and is not just now unless the column is a term."""
    if type(node).__name__ in ("CurrentDate", "CurrentTimestamp", "CurrentDatetime", "Anonymous"):
        return re.search(r"expir|due|until|deadline|end|valid", str(column.sql()).lower()) is not None
    if type(node).__name__ == "Literal" and (year := re.match(r"\d{4}", str(node.this))):
        return 1990 < int(year[0]) < 2100 and _is_date(node)  # noqa: PLR2004 - years
    return _is_date(node)


def _is_date(node: Any) -> bool:
    """Return whether a value is a date, or computed from now."""
    kind = type(node).__name__
    if kind == "Anonymous" and str(node.this).lower() in (
        "now",
        "getdate",
        "today",
        "datetime",
        "date",
        "sysdate",
        "getutcdate",
    ):
        return True
    if kind == "Literal":
        return _DATE.match(str(node.this)) is not None or str(node.this).lower() == "now"
    if kind in ("Sub", "Add", "DateAdd", "DateSub", "Cast", "Paren", "TsOrDsToDate", "Date", "Timestamp", "StrToTime"):
        return any(_is_date(each) for each in node.iter_expressions())
    return kind in ("CurrentDate", "CurrentTimestamp", "CurrentDatetime", "Placeholder", "Parameter")


def _get_literal(node: Any) -> str:
    kind = type(node).__name__
    return str(node.this) if kind == "Literal" else "given" if kind in ("Placeholder", "Parameter") else ""


def _list_calls(statement: Any) -> Iterator[Any]:
    """Yield functions and tables, each function with the literals among its own arguments."""
    for node in statement.walk():
        kind = type(node).__name__
        if kind in ("Anonymous", "Table") or kind in _TYPED_WITH_EFFECT:
            yield node


def _judge_place(text: str) -> Danger | None:
    """Return a doubt about a text that a function or a table takes as the name of a file or as an address."""
    if len(text) < 3 or not re.search(r"[/\\.]", text):  # noqa: PLR2004 - characters
        return None
    if danger := find_bad_path(text, is_path=False):
        return Danger(danger.reason)
    if danger := find_bad_address(text, None, bare="://" in text):
        return Danger(danger.reason)
    if re.match(r"[a-z0-9]{2,10}://|/|\\\\|[A-Za-z]:\\", text):
        return Danger(f"it reads or writes outside of the database ({text[:60]!r})")
    return None
