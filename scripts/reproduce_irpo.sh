bvrank reproduce paper=irpo
