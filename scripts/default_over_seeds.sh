bvrank train -m objective=bvpo seed=0,1,2,3,4,5,6,7
