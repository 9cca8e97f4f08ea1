RULE_OPERATORS: tuple[str, ...]
RULE_AGGREGATIONS: tuple[str, ...]
RULE_NO_DATA: tuple[str, ...]
