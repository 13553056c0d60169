bvrank reproduce paper=bvpo
