bvrank train -m objective=dpo,bvpo seed=0,1 && bvrank report runs="outputs/*"
