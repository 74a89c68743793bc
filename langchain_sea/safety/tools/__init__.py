"""What a tool is and what a call of it is: schema, identity, texts, kinds of arguments, acts."""
