"""The default preset of this package with the reward that ships for the model."""

from langchain_sea import Budget, SEAChatModel


def make_answerer(max_tokens, seed):
    model = SEAChatModel(model="smollm2-135m", temperature=0.8, max_tokens=max_tokens, seed=seed)

    def answer(question, seconds):
        return model.invoke(question, budget=Budget(max_time=seconds)).text

    return answer
