"""Best of 3 by optillm's proxy, for which the policy rates its own answers: it takes no other reward."""

from openai import OpenAI

COMMAND = "optillm --base-url {endpoint} --approach bon --model sea --port {port}"


def make_answerer(proxy, max_tokens):
    client = OpenAI(base_url=proxy, api_key="none")

    def answer(question, _):
        messages = [{"role": "user", "content": question}]
        reply = client.chat.completions.create(model="sea", messages=messages, max_tokens=max_tokens)
        return reply.choices[0].message.content

    return answer
