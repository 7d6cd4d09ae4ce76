package email

import (
	"errors"
	"fmt"

	"fanfare"
	"fanfare/esmtp"
	"fanfare/merge"
	"fanfare/merge/mailbody"
)

// Render implements fanfare.Compiled.
func (c *Content) Render(dst []byte, it *fanfare.Outgoing) ([]byte, error) {
	if !c.onlyTo.allow(it.Address) {
		return dst, &fanfare.SkipError{Reason: fanfare.ReasonFiltered, Detail: "the provider's only_to leaves this address out"}
	}
	v, vars := c.begin(it)
	defer c.end(vars)
	c.follow(vars, it)
	s, address := v.ascii, it.Address
	if !isASCII(address) {
		a, err := esmtp.ParseAddress(address)
		if err != nil {
			return dst, &fanfare.SkipError{Reason: fanfare.ReasonInvalid, Detail: fanfare.CleanText(err.Error())}
		}
		if address = a.Wire(); a.UTF8 {
			if s, err = v.wide(); err != nil {
				return dst, err
			}
		}
	}
	out, err := s.Append(dst, mailbody.Envelope{To: address, Key: it.Key, Date: it.Date, Unsubscribe: it.Unsubscribe, Vars: vars})
	if err != nil {
		return dst, c.why(v, err)
	}
	return out, nil
}

// Preview implements fanfare.Compiled: to, and the fields of the content that are not empty by their names in it.
func (c *Content) Preview(it *fanfare.Outgoing) (map[string]string, error) {
	v, vars := c.begin(it)
	defer c.end(vars)
	fields, err := v.ascii.Preview(vars)
	if err != nil {
		return nil, c.why(v, err)
	}
	fields["to"] = it.Address
	return fields, nil
}

// begin picks the content and gathers the variables of an item. They go back by end.
func (c *Content) begin(it *fanfare.Outgoing) (*variant, *merge.Fields) {
	f, _ := c.fields.Get().(*merge.Fields)
	if f == nil {
		f = new(merge.Fields)
	}
	*f = merge.Fields{MessageID: c.id, MessageName: c.name, MessageMetadata: c.meta, Data: c.data, UnsubscribeURL: it.Unsubscribe, Now: it.Date}
	if r := it.Recipient; r != nil {
		f.Attributes, f.ExternalID, f.Email, f.Locale = r.Attributes, r.ExternalID, r.Email, r.Locale
	}
	return c.pick(f.Locale), f
}

func (c *Content) end(f *merge.Fields) {
	*f = merge.Fields{}
	c.fields.Put(f)
}

// why tells an error about this person from one about the content or the installation.
func (c *Content) why(v *variant, err error) error {
	if missing, ok := errors.AsType[*merge.MissingError](err); ok {
		return &fanfare.SkipError{Reason: fanfare.ReasonMissingField, Detail: fanfare.CleanText(missing.Path)}
	}
	field := ""
	if e, ok := errors.AsType[*mailbody.FieldError](err); ok {
		field = e.Field
	}
	if errors.Is(err, mailbody.ErrInvalid) && field != "key" && field != unsubscribeURL {
		return &fanfare.SkipError{Reason: fanfare.ReasonInvalid, Detail: fanfare.CleanText(err.Error())}
	}
	if v.locale != "" {
		err = fmt.Errorf("locale %s: %w", v.locale, err)
	}
	return fmt.Errorf("message %s: %w", c.id, err)
}
