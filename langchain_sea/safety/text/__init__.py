"""What texts and values are, whoever wrote them: patterns, verbs, typed values, decoding. Knows no call and no conversation."""
