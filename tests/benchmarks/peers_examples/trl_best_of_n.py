"""Best of N by TRL's `BestOfNSampler`, which 0.24.0 is the last release to have; its texts begin with the prompt."""

from transformers import GenerationConfig
from trl import AutoModelForCausalLMWithValueHead
from trl.extras import BestOfNSampler


def make_answerer(model, tokenizer, score, max_tokens):
    wrapped = AutoModelForCausalLMWithValueHead(model)
    config = GenerationConfig(do_sample=True, temperature=0.8, top_k=0, pad_token_id=tokenizer.pad_token_id)

    def answer(question, count):
        messages = [{"role": "user", "content": question}]
        ids = list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
        prompt = tokenizer.decode(ids, skip_special_tokens=True)

        def grade(texts):
            return score(question, [text.removeprefix(prompt) for text in texts])

        sampler = BestOfNSampler(
            wrapped, tokenizer, grade, lambda: max_tokens, sample_size=count, generation_config=config
        )
        return sampler.generate(ids, device="cpu")[0][0].removeprefix(prompt)

    return answer
