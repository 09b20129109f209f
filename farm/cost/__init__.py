"""What a job costs: prices, a meter over what the dispatcher hears and decides, an estimate, and a budget.

prices     the price table          meter     slot-seconds and money, counted once      bill      sums as records
kept       former runs of a job     listener  the meter beside a job, with its budget   texts     lines for people
rates      how fast renderers are   work      what is open of a film                    estimate  work x rates x prices
"""
