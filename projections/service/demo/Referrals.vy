# pragma version ~=0.4.0
# pragma evm-version paris
# Emits what it is told: the demo's and the tests' registry has no rules of its own.

event ReferralRegistered:
    user: indexed(address)
    referrer: indexed(address)
    timestamp: uint256

# The same fact as another contract would tell it: referrer first, no timestamp.
event Joined:
    inviter: indexed(address)
    referee: indexed(address)

event Left:
    user: indexed(address)

event Noise:
    what: Bytes[1024]

@external
def register(user: address, referrer: address):
    log ReferralRegistered(user=user, referrer=referrer, timestamp=block.timestamp)

@external
def registerMany(users: DynArray[address, 200], referrers: DynArray[address, 200]):
    for i: uint256 in range(len(users), bound=200):
        log ReferralRegistered(user=users[i], referrer=referrers[i], timestamp=block.timestamp)

@external
def join(inviter: address, referee: address):
    log Joined(inviter=inviter, referee=referee)

@external
def leave(user: address):
    log Left(user=user)

@external
def noise(what: Bytes[1024]):
    log Noise(what=what)
