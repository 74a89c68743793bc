"""One answer of the plain policy, by `generate`."""


def make_answerer(model, tokenizer, max_tokens):
    def answer(question, _):
        inputs = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        ids = model.generate(**inputs, do_sample=True, temperature=0.8, top_k=0, max_new_tokens=max_tokens)
        return tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    return answer
