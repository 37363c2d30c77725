package custody

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/millrace-cd/millrace/pkg/attest"
	"github.com/millrace-cd/millrace/pkg/event"
)

// verdictType is the type of the statement that a step passed with certain inputs.
const verdictType = "https://github.com/millrace-cd/millrace/verdict/v1"

// Verdict is a success that deliveries with the same inputs may take for their own.
type Verdict struct {
	From event.Verdict `json:"from"`
	Step event.Step    `json:"step"`
}

// SignVerdict makes the signed verdict of a tester about the inputs of an app's step, which
// have this digest, in hex.
func (c Clerk) SignVerdict(app, inputs string, v Verdict) ([]byte, error) {
	st, err := attest.New(verdictType, v, attest.Resource{Name: app, Digest: map[string]string{"sha256": inputs}})
	if err != nil {
		return nil, err
	}
	signer, err := c.Keys.Signer()
	if err != nil {
		return nil, err
	}
	return signer.Sign(st)
}

// VerifyVerdict reads one that a tester signed about these inputs.
func (c Clerk) VerifyVerdict(app, inputs string, data []byte) (v Verdict, err error) {
	ring, err := c.Keys.Ring()
	if err != nil {
		return v, err
	}
	st, _, err := ring.Verify(data, Tester, time.Now())
	if err != nil {
		return v, err
	}
	if st.PredicateType != verdictType || st.Subject[0].Name != app || st.Subject[0].Digest["sha256"] != inputs {
		return v, errors.New("it is about other inputs")
	}
	if err := json.Unmarshal(st.Predicate, &v); err != nil {
		return v, err
	}
	if v.Step.Result != event.ResultSuccess {
		return v, errors.New("it tells no success")
	}
	return v, nil
}
