package bypass

func handingOut() []attempt { return nil }
